//! Tax ids of customers (Stripe API reference: Customer Tax IDs). Kept and shown; nobody asks a
//! registry about them.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, customers};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::text;
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::store::objects;

/// The kinds of tax ids, each with its country first.
const TYPES: [&str; 135] = [
    "ad_nrt",
    "ae_trn",
    "al_tin",
    "am_tin",
    "ao_tin",
    "ar_cuit",
    "au_abn",
    "au_acn",
    "au_arn",
    "au_wpn",
    "aw_tin",
    "az_tin",
    "ba_tin",
    "bb_tin",
    "bd_bin",
    "bf_ifu",
    "bg_uic",
    "bh_vat",
    "bj_ifu",
    "bo_tin",
    "br_cnpj",
    "br_cpf",
    "bs_tin",
    "bw_vat",
    "by_tin",
    "ca_bn",
    "ca_gst_hst",
    "ca_pst_bc",
    "ca_pst_mb",
    "ca_pst_sk",
    "ca_qst",
    "cd_nif",
    "ch_uid",
    "ch_vat",
    "ci_vat",
    "cl_tin",
    "cm_niu",
    "cn_tin",
    "co_nit",
    "cr_tin",
    "cv_nif",
    "cz_dic",
    "de_stn",
    "do_rcn",
    "ec_ruc",
    "eg_tin",
    "es_cif",
    "et_tin",
    "eu_oss_vat",
    "eu_vat",
    "fo_vat",
    "fr_siren",
    "fr_siret",
    "fr_spi",
    "gb_vat",
    "ge_vat",
    "gh_tin",
    "gi_tin",
    "gn_nif",
    "hk_br",
    "hr_oib",
    "hu_tin",
    "ic_nif",
    "id_npwp",
    "il_vat",
    "in_gst",
    "is_kt",
    "is_vat",
    "it_cf",
    "jp_cn",
    "jp_rn",
    "jp_trn",
    "ke_pin",
    "kg_tin",
    "kh_tin",
    "kr_brn",
    "kz_bin",
    "la_tin",
    "li_uid",
    "li_vat",
    "lk_vat",
    "ma_vat",
    "md_cf",
    "md_vat",
    "me_pib",
    "mk_vat",
    "mr_nif",
    "mu_vat",
    "mx_rfc",
    "my_frp",
    "my_itn",
    "my_sst",
    "mz_nuit",
    "ng_tin",
    "no_vat",
    "no_voec",
    "np_pan",
    "nz_bn",
    "nz_gst",
    "om_vat",
    "pe_ruc",
    "ph_tin",
    "pl_nip",
    "pt_nif",
    "py_ruc",
    "ro_tin",
    "rs_pib",
    "ru_inn",
    "ru_kpp",
    "sa_vat",
    "sg_gst",
    "sg_uen",
    "si_tin",
    "sm_coe",
    "sn_ninea",
    "sr_fin",
    "sv_nit",
    "th_vat",
    "tj_tin",
    "tr_tin",
    "tt_bir",
    "tt_vat",
    "tw_vat",
    "tz_vat",
    "ua_vat",
    "ug_tin",
    "us_ein",
    "uy_ruc",
    "uz_tin",
    "uz_vat",
    "ve_rif",
    "vn_tin",
    "za_vat",
    "zm_tin",
    "zw_tin",
];
const VALUE_CHARS_MAX: usize = 50;

/// `POST /v1/customers/{id}/tax_ids`.
pub(crate) fn create(call: &Call<'_>, customer: &str, mut params: Params) -> Answer {
    customers::get_living(call, customer)?;
    let tax_id = make(call, customer, &mut params)?;
    params.finish()?;
    present(call, &tax_id)
}

/// Stores a tax id of a customer: of the call's parameters, or of the customer's `tax_id_data`.
pub(super) fn make(call: &Call<'_>, customer: &str, params: &mut Params) -> Result<Value> {
    let (type_name, value_name) = (params.name("type"), params.name("value"));
    let kind = params.choice("type", &TYPES)?;
    let kind = kind.ok_or_else(|| StripeError::missing(&type_name))?;
    let value = params.required("value")?;
    if value.chars().count() > VALUE_CHARS_MAX || !value.chars().any(|c| c.is_ascii_digit()) {
        let message = format!("Invalid value for {kind}.");
        let error = StripeError::invalid(message).code("tax_id_invalid");
        return Err(error.param(value_name));
    }
    let country = match kind.split('_').next().unwrap_or_default() {
        // A VAT number of the EU names its country itself.
        "eu" => value.get(..2).unwrap_or_default().to_owned(),
        country => country.to_uppercase(),
    };
    let tax_id = json!({
        "id": call.random.id("txi"),
        "object": "tax_id",
        "country": country,
        "created": call.now(),
        "customer": customer,
        "customer_account": null,
        "livemode": false,
        "owner": { "customer": customer, "customer_account": null, "type": "customer" },
        "type": kind,
        "value": value,
        "verification": { "status": "pending", "verified_address": null, "verified_name": null },
    });
    call.insert(&tax_id)?;
    events::emit(call, "customer.tax_id.created", &tax_id)?;
    Ok(tax_id)
}

/// The customer's tax id that the path names.
fn get(call: &Call<'_>, customer: &str, id: &str) -> Result<Value> {
    customers::get_living(call, customer)?;
    let found = call.find("tax_id", id)?;
    found
        .filter(|found| text(found, "/customer") == Some(customer))
        .ok_or_else(|| StripeError::no_such("tax id", id))
}

/// `GET /v1/customers/{id}/tax_ids/{tax_id}`.
pub(crate) fn retrieve(call: &Call<'_>, customer: &str, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &get(call, customer, id)?)
}

/// `DELETE /v1/customers/{id}/tax_ids/{tax_id}`.
pub(crate) fn delete(call: &Call<'_>, customer: &str, id: &str, params: Params) -> Answer {
    params.finish()?;
    let tax_id = get(call, customer, id)?;
    objects::delete(call.db, id)?;
    events::emit(call, "customer.tax_id.deleted", &tax_id)?;
    Ok(json!({ "id": id, "object": "tax_id", "deleted": true }))
}

/// `GET /v1/customers/{id}/tax_ids`.
pub(crate) fn list(call: &Call<'_>, customer: &str, params: Params) -> Answer {
    customers::get_living(call, customer)?;
    let url = format!("/v1/customers/{customer}/tax_ids");
    let filters = [("customer", Sql::Text(customer.to_owned()))];
    list::answer(call, params, "tax_id", &url, &filters)
}
