//! The fields of a dispute (Stripe API reference: The Dispute object).

use serde_json::{Map, Value, json};

use super::test_cards::Claim;
use crate::api::error::{Result, StripeError};
use crate::api::params::Params;
use crate::call::Call;

const DAY_SECONDS: i64 = 86_400;
/// Days to answer in, to the end of the last.
const RESPONSE_DAYS: i64 = 8;
/// Characters of all evidence together.
const EVIDENCE_CHARS_MAX: usize = 150_000;

/// Evidence in words.
const TEXTS: [&str; 18] = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_tracking_number",
    "uncategorized_text",
];

/// Evidence in files, of which none can be uploaded here.
const FILES: [&str; 9] = [
    "cancellation_policy",
    "customer_communication",
    "customer_signature",
    "duplicate_charge_documentation",
    "receipt",
    "refund_policy",
    "service_documentation",
    "shipping_documentation",
    "uncategorized_file",
];

/// A dispute of the whole charge.
pub(super) fn blank(call: &Call<'_>, charge: &Value, claim: Claim, at: i64) -> Value {
    let (reason, case_type, network_reason_code) = match claim {
        Claim::Fraudulent => ("fraudulent", "chargeback", "10.4"),
        Claim::NotReceived => ("product_not_received", "chargeback", "13.1"),
        Claim::Inquiry => ("fraudulent", "inquiry", "10"),
    };
    let is_inquiry = claim == Claim::Inquiry;
    let brand = &charge["payment_method_details"]["card"]["brand"];
    let mut evidence = Map::new();
    for field in TEXTS.iter().chain(&FILES) {
        evidence.insert((*field).to_owned(), Value::Null);
    }
    evidence.insert("enhanced_evidence".to_owned(), json!({}));
    json!({
        "id": call.random.id("du"),
        "object": "dispute",
        "_customer": charge["customer"],
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": at,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": evidence,
        "evidence_details": {
            "due_by": at - at.rem_euclid(DAY_SECONDS) + (RESPONSE_DAYS + 1) * DAY_SECONDS - 1,
            "enhanced_eligibility": {},
            "has_evidence": false,
            "past_due": false,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": is_inquiry,
        "livemode": false,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": brand,
                "case_type": case_type,
                "network": brand,
                "network_reason_code": network_reason_code,
            },
            "type": "card",
        },
        "reason": reason,
        "status": if is_inquiry { "warning_needs_response" } else { "needs_response" },
    })
}

/// Reads `evidence` into the dispute. Answers whether any was given.
pub(super) fn take_evidence(params: &mut Params, dispute: &mut Value) -> Result<bool> {
    let Some(mut evidence) = params.hash("evidence")? else {
        return Ok(false);
    };
    evidence.copy_texts(&TEXTS, &mut dispute["evidence"])?;
    for field in FILES {
        let name = evidence.name(field);
        match evidence.text(field)? {
            Some(id) if !id.is_empty() => {
                return Err(StripeError::no_such_param("file upload", &id, &name));
            }
            Some(_) => dispute["evidence"][field] = Value::Null,
            None => {}
        }
    }
    evidence.finish()?;
    let texts = TEXTS
        .iter()
        .filter_map(|field| dispute["evidence"][field].as_str());
    let chars: usize = texts.map(|text| text.chars().count()).sum();
    if chars > EVIDENCE_CHARS_MAX {
        let message = format!(
            "The combined character count of all evidence is limited to {EVIDENCE_CHARS_MAX}."
        );
        return Err(StripeError::invalid_param("evidence", message));
    }
    Ok(true)
}

/// Whether there is any evidence, submitted or not.
pub(super) fn has_evidence(dispute: &Value) -> bool {
    TEXTS
        .iter()
        .any(|field| dispute["evidence"][field].is_string())
}
