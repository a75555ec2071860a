//! The whole of Meterline in one process on one machine: DynamoDB, Stripe and
//! every function, each reached as in production, over HTTP.

pub mod dynamodb;
pub mod tables;
