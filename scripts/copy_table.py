"""Puts the rows that a restored table of DynamoDB has, and the stack's lacks, into the stack's.

    .venv/bin/python scripts/copy_table.py RESTORED TABLE

A row that is there stays as it is, whatever the other table says of it. So the copy may
be broken off and made again, and nothing that came in since is lost. Runs with the
boto3 that sam brings (scripts/tools.sh lambda), and with the keys and the region of the
environment. What it is for: docs/restore.md.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

# Parts of the restored table that are read at once; each writes what it reads.
SEGMENTS = 16


def keys_of(dynamodb, table):
    return dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]


def copy_segment(dynamodb, restored, table, key, segment):
    put, there = 0, 0
    scan = dynamodb.get_paginator("scan")
    pages = scan.paginate(
        TableName=restored, Segment=segment, TotalSegments=SEGMENTS, ConsistentRead=True
    )
    for page in pages:
        for item in page["Items"]:
            try:
                dynamodb.put_item(
                    TableName=table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(#key)",
                    ExpressionAttributeNames={"#key": key},
                )
                put += 1
            except dynamodb.exceptions.ConditionalCheckFailedException:
                there += 1
    return put, there


def main(restored, table):
    # A table that was idle is throttled at first: it is asked more slowly then.
    retries = {"mode": "adaptive", "max_attempts": 20}
    config = Config(retries=retries, max_pool_connections=SEGMENTS)
    dynamodb = boto3.client("dynamodb", config=config)
    keys = keys_of(dynamodb, table)
    if keys_of(dynamodb, restored) != keys:
        sys.exit(f"{restored} and {table} have other keys: these are not the same table")
    key = keys[0]["AttributeName"]
    with ThreadPoolExecutor(SEGMENTS) as pool:
        parts = [
            pool.submit(copy_segment, dynamodb, restored, table, key, segment)
            for segment in range(SEGMENTS)
        ]
        # A part that fails is said as it is: made again, the copy goes on.
        counts = [part.result() for part in parts]
    put, there = (sum(count) for count in zip(*counts))
    print(f"{put} rows put, {there} were there")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] == sys.argv[2]:
        sys.exit("usage: copy_table.py RESTORED TABLE")
    main(*sys.argv[1:])
