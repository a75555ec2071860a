#![doc = include_str!("../README.md")]

pub mod anthropic;
pub mod documents;
pub mod job;
pub mod journal;
pub mod operations;
mod outage;
mod retry;
pub mod service;
