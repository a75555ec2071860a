//! Puts the dashboard's files into the program: each as it is and compressed, all under
//! a version that is another as soon as one of them is.
//!
//! The version is part of their addresses. So a browser may keep them for good, and the
//! modules, which import each other by relative addresses, stay with their own kind.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// Of the version, in bytes: enough that no two are the same by chance.
const VERSION_BYTES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut files = Vec::new();
    collect(&folder, &mut files)?;
    files.sort();

    let mut version = Sha256::new();
    let mut table = String::new();
    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or("an asset's name is not UTF-8")?;
        let content = fs::read(file)?;
        version.update(name);
        version.update(Sha256::digest(&content));
        let compressed = out.join(format!("{name}.gz"));
        fs::write(&compressed, gzip(&content)?)?;
        writeln!(
            table,
            "    Asset {{ name: {name:?}, content_type: {:?}, plain: include_bytes!({file:?}), \
             gzip: include_bytes!({compressed:?}) }},",
            content_type(file)?,
        )?;
    }
    let mut digits = String::new();
    for byte in version.finalize().iter().take(VERSION_BYTES) {
        write!(digits, "{byte:02x}")?;
    }
    let source = format!(
        "/// Of all files together.\npub(crate) const VERSION: &str = {digits:?};\n\n\
         /// The files.\npub(crate) static ASSETS: &[Asset] = &[\n{table}];\n"
    );
    fs::write(out.join("assets.rs"), source)?;
    Ok(())
}

/// Every file below `folder`, but notes for people.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// No file name and no time go in, so that the same files make the same program.
fn gzip(content: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

fn content_type(file: &Path) -> Result<&'static str, Box<dyn Error>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("txt") => Ok("text/plain; charset=utf-8"),
        _ => Err(format!("what is {}?", file.display()).into()),
    }
}
