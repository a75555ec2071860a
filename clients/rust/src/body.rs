//! The bytes of an answer.

use reqwest::Response;

use crate::transport::describe;

/// No answer of the API's is nearly as long: a batch's has a hundred results.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The body, or why there is none.
pub(crate) async fn whole_body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err("the answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
