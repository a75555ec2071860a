//! The tables, as `template.yaml` defines them: nothing here knows a key, an
//! index or a stream of its own. Locally a table's name is its logical id.

use std::collections::BTreeMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType,
};
use ledger::TableNames;
use serde::Deserialize;
use serde::de::IgnoredAny;
use yaml_serde::Value;

/// The template that the tables are deployed from.
const TEMPLATE: &str = include_str!("../../../template.yaml");

const TABLE_TYPE: &str = "AWS::DynamoDB::Table";

/// A table of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    /// Its logical id, such as `UsageEventsTable`; locally also its name.
    pub name: String,
    /// What the template says of it.
    pub properties: TableProperties,
}

/// Properties of `AWS::DynamoDB::Table` (AWS CloudFormation Template Reference).
/// Those that only matter on AWS are read and left aside; an unknown one is an
/// error, so that no change of the template is passed over in silence here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TableProperties {
    /// How the table is paid for.
    pub billing_mode: String,
    /// Types of the attributes that are keys of the table or of an index.
    pub attribute_definitions: Vec<Attribute>,
    /// The table's key.
    pub key_schema: Vec<KeyPart>,
    /// Its indexes.
    #[serde(default)]
    pub global_secondary_indexes: Vec<Index>,
    /// Its stream, if it has one.
    pub stream_specification: Option<Stream>,
    #[serde(default, rename = "DeletionProtectionEnabled")]
    _deletion_protection: Aside,
    #[serde(default, rename = "PointInTimeRecoverySpecification")]
    _point_in_time_recovery: Aside,
    #[serde(default, rename = "TimeToLiveSpecification")]
    _time_to_live: Aside,
}

/// A property that is not looked at, whatever its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Aside;

impl<'de> Deserialize<'de> for Aside {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// An attribute's name and type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Attribute {
    /// Its name.
    pub attribute_name: String,
    /// `S`, `N` or `B`.
    pub attribute_type: String,
}

/// One attribute of a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct KeyPart {
    /// Its name.
    pub attribute_name: String,
    /// `HASH` or `RANGE`.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Index {
    /// Its name.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<KeyPart>,
    /// What else of an item it holds.
    pub projection: IndexProjection,
}

/// What an index holds besides the keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct IndexProjection {
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub projection_type: String,
    /// For `INCLUDE`, the attributes.
    #[serde(default)]
    pub non_key_attributes: Vec<String>,
}

/// A table's stream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Stream {
    /// Which images of an item a record has.
    pub stream_view_type: String,
}

/// Why the tables are not there.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// The template cannot be read.
    #[error("template.yaml defines its tables in a way that is not understood here")]
    Template(#[from] yaml_serde::Error),
    /// The template has no table of a name that the functions expect.
    #[error("template.yaml defines no table {0}")]
    Missing(&'static str),
    /// A definition lacks what DynamoDB asks for.
    #[error("the definition of {table} is incomplete")]
    Incomplete {
        /// The table.
        table: String,
        /// What is missing.
        #[source]
        source: BuildError,
    },
    /// DynamoDB did not create a table.
    #[error("DynamoDB did not create {table}")]
    Refused {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<SdkError<CreateTableError>>,
    },
    /// A table that is there did not get an index that it lacks.
    #[error("{table} lacks an index, and did not get it")]
    Index {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    resources: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Table {
    properties: TableProperties,
}

/// The tables that `template.yaml` defines.
///
/// # Errors
/// [`TablesError::Template`].
pub fn definitions() -> Result<Vec<TableDefinition>, TablesError> {
    let template: Template = yaml_serde::from_str(TEMPLATE)?;
    let mut tables = Vec::new();
    for (name, resource) in template.resources {
        if resource.get("Type").and_then(Value::as_str) == Some(TABLE_TYPE) {
            let Table { properties } = yaml_serde::from_value(resource)?;
            tables.push(TableDefinition { name, properties });
        }
    }
    Ok(tables)
}

/// The local names of the tables: their logical ids.
pub fn names() -> TableNames {
    TableNames::from_variables(|variable| {
        TableNames::VARIABLES
            .iter()
            .find(|(name, _)| *name == variable)
            .map(|(_, logical_id)| (*logical_id).to_owned())
    })
}

/// Creates the tables that are not there yet, and says what they are called.
/// Those that are there stay as they are, but get the indexes that they lack.
///
/// # Errors
/// A [`TablesError`]; what was created until then stays.
pub async fn create_tables(client: &Client) -> Result<TableNames, TablesError> {
    let definitions = definitions()?;
    for (_, logical_id) in TableNames::VARIABLES {
        if !definitions.iter().any(|table| table.name == logical_id) {
            return Err(TablesError::Missing(logical_id));
        }
    }
    for table in &definitions {
        create_table(client, table).await?;
    }
    Ok(names())
}

async fn create_table(client: &Client, table: &TableDefinition) -> Result<(), TablesError> {
    let incomplete = |source| TablesError::Incomplete {
        table: table.name.clone(),
        source,
    };
    let properties = &table.properties;
    let attributes = properties.attribute_definitions.iter();
    let attributes: Vec<_> = attributes
        .map(attribute)
        .collect::<Result<_, _>>()
        .map_err(incomplete)?;
    let indexes = properties.global_secondary_indexes.iter();
    let indexes: Vec<_> = indexes
        .map(index)
        .collect::<Result<_, _>>()
        .map_err(incomplete)?;
    let stream = properties.stream_specification.as_ref().map(stream);
    let created = client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::from(properties.billing_mode.as_str()))
        .set_attribute_definitions(Some(attributes))
        .set_key_schema(Some(key(&properties.key_schema).map_err(incomplete)?))
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
        .set_stream_specification(stream.transpose().map_err(incomplete)?)
        .send()
        .await;
    match created {
        Err(SdkError::ServiceError(error)) if error.err().is_resource_in_use_exception() => {
            add_missing_indexes(client, table).await
        }
        Err(source) => Err(TablesError::Refused {
            table: table.name.clone(),
            source: Box::new(source),
        }),
        Ok(_) => Ok(()),
    }
}

/// What a later template gives a table that an earlier one made, as CloudFormation does.
async fn add_missing_indexes(client: &Client, table: &TableDefinition) -> Result<(), TablesError> {
    let failed = |source: Box<dyn Error + Send + Sync>| TablesError::Index {
        table: table.name.clone(),
        source,
    };
    let described = client.describe_table().table_name(&table.name).send().await;
    let described = described.map_err(|error| failed(error.into()))?;
    let there = described.table.and_then(|it| it.global_secondary_indexes);
    let there = there.unwrap_or_default();
    let is_there = |name: &str| there.iter().any(|it| it.index_name() == Some(name));
    let properties = &table.properties;
    for wanted in &properties.global_secondary_indexes {
        if is_there(&wanted.index_name) {
            continue;
        }
        let wanted = index(wanted).map_err(|error| failed(error.into()))?;
        let create = CreateGlobalSecondaryIndexAction::builder()
            .index_name(wanted.index_name)
            .set_key_schema(Some(wanted.key_schema))
            .set_projection(wanted.projection)
            .build()
            .map_err(|error| failed(error.into()))?;
        let attributes = properties.attribute_definitions.iter();
        let attributes: Result<Vec<_>, _> = attributes.map(attribute).collect();
        client
            .update_table()
            .table_name(&table.name)
            .set_attribute_definitions(Some(attributes.map_err(|error| failed(error.into()))?))
            .global_secondary_index_updates(
                GlobalSecondaryIndexUpdate::builder().create(create).build(),
            )
            .send()
            .await
            .map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn attribute(attribute: &Attribute) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder()
        .attribute_name(&attribute.attribute_name)
        .attribute_type(ScalarAttributeType::from(attribute.attribute_type.as_str()))
        .build()
}

fn key(parts: &[KeyPart]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let part = |part: &KeyPart| {
        KeySchemaElement::builder()
            .attribute_name(&part.attribute_name)
            .key_type(KeyType::from(part.key_type.as_str()))
            .build()
    };
    parts.iter().map(part).collect()
}

fn index(index: &Index) -> Result<GlobalSecondaryIndex, BuildError> {
    let attributes = &index.projection.non_key_attributes;
    let projection = Projection::builder()
        .projection_type(ProjectionType::from(
            index.projection.projection_type.as_str(),
        ))
        .set_non_key_attributes((!attributes.is_empty()).then(|| attributes.clone()))
        .build();
    GlobalSecondaryIndex::builder()
        .index_name(&index.index_name)
        .set_key_schema(Some(key(&index.key_schema)?))
        .projection(projection)
        .build()
}

fn stream(stream: &Stream) -> Result<StreamSpecification, BuildError> {
    StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::from(stream.stream_view_type.as_str()))
        .build()
}
