//! Prints `openapi.json`.

use std::io::{self, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = api_document::document_text()?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
