//! `/units` (企业信息). Keys are write-only.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::{
    ApiState,
    auth::{Admin, Viewer},
    fields::{Body, Fields, Query, Segment},
    page::{Page, PageRequest, Time},
    problem::Problem,
    reply::{Outcome, Reply},
};
use crate::{
    domain::{PlatformId, ProvinceCode, TaxNo},
    leqi::{Sm4Key, catalogue},
    unit::{NewRole, NewUnit, QuotaMode, Role, Unit, UnitChange},
};

/// A unit as shown.
#[derive(Debug, Serialize)]
struct Shown {
    tax_no: TaxNo,
    name: String,
    role: &'static str,
    access_unit: Option<TaxNo>,
    platform_id: PlatformId,
    province_code: ProvinceCode,
    province_name: Option<&'static str>,
    has_sm4_key: bool,
    has_sandbox_sm4_key: bool,
    quota_mode: &'static str,
    created_at: Time,
    updated_at: Time,
}

impl From<Arc<Unit>> for Shown {
    fn from(unit: Arc<Unit>) -> Self {
        let (role, access_unit, has_sm4_key, has_sandbox_sm4_key) = match &unit.role {
            Role::Access { has_key, has_sandbox_key } => ("access", None, *has_key, *has_sandbox_key),
            Role::Using { access_unit } => ("using", Some(access_unit.clone()), false, false),
        };
        Self {
            tax_no: unit.tax_no.clone(),
            name: unit.name.clone(),
            role,
            access_unit,
            platform_id: unit.platform_id.clone(),
            province_name: catalogue::province_name(unit.province.as_str()),
            province_code: unit.province.clone(),
            has_sm4_key,
            has_sandbox_sm4_key,
            quota_mode: unit.quota_mode.as_str(),
            created_at: Time(unit.created_at),
            updated_at: Time(unit.updated_at),
        }
    }
}

/// GET `/units`
pub(super) async fn list(State(state): State<ApiState>, _: Viewer, Query(mut query): Query) -> Outcome {
    let page = PageRequest::<TaxNo>::take(&mut query)?;
    query.finish()?;
    let units = state.registry.list().into_iter();
    let after = units.filter(|unit| page.cursor.as_ref().is_none_or(|cursor| unit.tax_no > *cursor));
    let rows: Vec<_> = after.take(page.limit + 1).collect();
    Reply::ok(&Page::cut(rows, page.limit, |unit| unit.tax_no.to_string(), Shown::from))
}

/// POST `/units`
pub(super) async fn create(State(state): State<ApiState>, Admin(actor): Admin, mut body: Body) -> Outcome {
    let fields = &mut body.fields;
    let new = NewUnit {
        tax_no: fields.required("tax_no")?,
        name: fields.required("name")?,
        role: role(fields)?,
        platform_id: fields.required("platform_id")?,
        province: fields.required("province_code")?,
        quota_mode: fields.optional("quota_mode")?.map_or_else(QuotaMode::default, |Mode(mode)| mode),
    };
    fields.finish()?;
    Reply::created(&Shown::from(state.registry.create(new, &actor.0).await?))
}

/// GET `/units/{tax_no}`
pub(super) async fn read(State(state): State<ApiState>, _: Viewer, Segment(tax_no): Segment) -> Outcome {
    let unit = state.registry.by_tax_no(&tax_no_of(&tax_no)?);
    Reply::ok(&Shown::from(unit.ok_or_else(|| Problem::not_found("unit", &tax_no))?))
}

/// PATCH `/units/{tax_no}`
pub(super) async fn update(
    State(state): State<ApiState>,
    Admin(actor): Admin,
    Segment(tax_no): Segment,
    mut body: Body,
) -> Outcome {
    let tax_no = tax_no_of(&tax_no)?;
    let fields = &mut body.fields;
    let change = UnitChange {
        name: fields.optional("name")?,
        platform_id: fields.optional("platform_id")?,
        province: fields.optional("province_code")?,
        quota_mode: fields.optional("quota_mode")?.map(|Mode(mode)| mode),
        key: fields.optional("sm4_key")?,
        sandbox_key: fields.optional("sandbox_sm4_key")?,
        access_unit: fields.optional("access_unit")?,
    };
    fields.finish()?;
    Reply::ok(&Shown::from(state.registry.update(&tax_no, change, &actor.0).await?))
}

/// DELETE `/units/{tax_no}`
pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(actor): Admin,
    Segment(tax_no): Segment,
) -> Outcome {
    state.registry.delete(&tax_no_of(&tax_no)?, &actor.0).await?;
    Ok(Reply::nothing())
}

/// A tax number in a path.
pub(super) fn tax_no_of(text: &str) -> Result<TaxNo, Problem> {
    TaxNo::parse(text).map_err(|why| Problem::field("tax_no", why.to_string()))
}

/// A quota mode by its name.
pub(super) struct Mode(pub(super) QuotaMode);

impl std::str::FromStr for Mode {
    type Err = crate::domain::Invalid;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        QuotaMode::parse(text).map(Self)
    }
}

fn role(fields: &mut Fields) -> Result<NewRole, Problem> {
    let role: String = fields.required("role")?;
    let key: Option<Sm4Key> = fields.optional("sm4_key")?;
    let sandbox_key: Option<Sm4Key> = fields.optional("sandbox_sm4_key")?;
    let access_unit: Option<TaxNo> = fields.optional("access_unit")?;
    match (role.as_str(), access_unit) {
        ("access", None) => Ok(NewRole::Access { key, sandbox_key }),
        ("access", Some(_)) => Err(fields.wrong("access_unit", "only using units have one")),
        ("using", _) if key.is_some() || sandbox_key.is_some() => Err(fields
            .wrong("sm4_key", "using units have no keys of their own; the key is set on the access unit")),
        ("using", Some(access_unit)) => Ok(NewRole::Using { access_unit }),
        ("using", None) => Err(fields.wrong("access_unit", "missing: the tax number of its access unit")),
        _ => Err(fields.wrong("role", "must be access or using")),
    }
}
