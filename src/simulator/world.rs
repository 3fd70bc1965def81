//! The companies of the simulated world: who may call, under which ids, with which key and how much credit.

use aws_lc_rs::digest;

use crate::domain::{Invalid, Money, PlatformId, ProvinceCode, TaxNo};

/// Whether a company connects by itself or through another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// 接入单位: has the keys.
    Access,
    /// 使用单位: issues through its access unit.
    Using,
}

/// One company, as `DIR/units.json` lists it (design.md §1).
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Unit {
    /// Its unified social credit code.
    pub tax_no: TaxNo,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its own platform id: `sydwptbh` of its calls.
    pub platform_id: PlatformId,
    /// The platform id of its access unit, its own if it is one: `jrdwptbh` of its calls.
    pub access_platform_id: PlatformId,
    /// Its provincial tax authority.
    pub province_code: ProvinceCode,
    /// The production key as 32 hex digits; only access units have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm4_key: Option<String>,
    /// The sandbox key as 32 hex digits; only access units have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_sm4_key: Option<String>,
    /// The credit of every month in yuan; [`Money::ON_DEMAND`] for on-demand taxpayers.
    pub credit: Money,
    /// Capabilities that are *not* granted to the unit (4032).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

/// All companies.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct World {
    /// In the order in which they are listed.
    pub units: Vec<Unit>,
}

/// The capability that no company of the sample world has been granted: 卷烟 (cigarettes).
pub const WITHHELD_CAPABILITY: &str = "202040";

impl World {
    /// Two access units with two using units each, all with this credit per month, except 北京示例电商有限公司, which
    /// is on demand. The same every time, keys included: these are toys, not secrets.
    ///
    /// # Errors
    /// Never in practice: the sample's numbers are computed to be valid.
    pub fn sample(credit: Money) -> Result<Self, Invalid> {
        let on_demand = Money::ON_DEMAND;
        let units = vec![
            access("深圳示例科技有限公司", "440300", "14403000000", credit)?,
            access("上海示例贸易有限公司", "310115", "13100000000", credit)?,
        ];
        let [first, second] = [units[0].platform_id.clone(), units[1].platform_id.clone()];
        let using_units = [
            using("广州示例软件有限公司", "440106", "14400000000", credit, &first)?,
            using("厦门示例制造有限公司", "350203", "13502000000", credit, &first)?,
            using("杭州示例农业有限公司", "330106", "13300000000", credit, &second)?,
            using("北京示例电商有限公司", "110108", "11100000000", on_demand, &second)?,
        ];
        Ok(Self { units: units.into_iter().chain(using_units).collect() })
    }

    /// The unit with this platform id, written in either case.
    #[must_use]
    pub fn by_platform_id(&self, id: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.platform_id.as_str().eq_ignore_ascii_case(id))
    }

    /// The unit with this tax number.
    #[must_use]
    pub fn by_tax_no(&self, tax_no: &TaxNo) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.tax_no == *tax_no)
    }

    /// The access units, in order.
    pub fn access_units(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| unit.role == Role::Access)
    }

    /// The units that issue through this access unit, itself not among them.
    pub fn using_units<'a>(&'a self, access: &'a Unit) -> impl Iterator<Item = &'a Unit> {
        self.units
            .iter()
            .filter(|unit| unit.role == Role::Using && unit.access_platform_id == access.platform_id)
    }

    /// The access unit of a unit, itself if it is one.
    #[must_use]
    pub fn access_of(&self, unit: &Unit) -> Option<&Unit> {
        self.by_platform_id(unit.access_platform_id.as_str())
    }
}

fn access(name: &str, place: &str, province: &str, credit: Money) -> Result<Unit, Invalid> {
    let mut unit = company(name, place, province, credit)?;
    unit.sm4_key = Some(derived(name, "production key", 16));
    unit.sandbox_sm4_key = Some(derived(name, "sandbox key", 16));
    Ok(unit)
}

fn using(
    name: &str,
    place: &str,
    province: &str,
    credit: Money,
    access: &PlatformId,
) -> Result<Unit, Invalid> {
    let unit = company(name, place, province, credit)?;
    Ok(Unit { role: Role::Using, access_platform_id: access.clone(), ..unit })
}

fn company(name: &str, place: &str, province: &str, credit: Money) -> Result<Unit, Invalid> {
    let platform_id = PlatformId::parse(&derived(name, "platform id", 10))?;
    let serial = u32::from_str_radix(&derived(name, "tax number", 3), 16).unwrap_or_default() % 100_000;
    Ok(Unit {
        tax_no: credit_code(place, serial)?,
        name: name.to_owned(),
        role: Role::Access,
        access_platform_id: platform_id.clone(),
        platform_id,
        province_code: ProvinceCode::parse(province)?,
        sm4_key: None,
        sandbox_sm4_key: None,
        credit,
        withheld: vec![WITHHELD_CAPABILITY.to_owned()],
    })
}

/// So many bytes in hex that follow from the name and the use alone.
fn derived(name: &str, purpose: &str, bytes: usize) -> String {
    let digest = digest::digest(&digest::SHA256, format!("leqi simulator/{purpose}/{name}").as_bytes());
    super::hex(digest.as_ref().get(..bytes).unwrap_or_default())
}

/// A unified social credit code: registered with the market administration (9), a company (1), of this place
/// (6 digits), with an organisation code "MA" and its check digit (GB 11714), then the check digit of GB 32100.
///
/// # Errors
/// When the place is not six digits.
pub fn credit_code(place: &str, serial: u32) -> Result<TaxNo, Invalid> {
    let organisation = format!("MA{:06}", serial % 1_000_000);
    let body = format!("91{place}{organisation}{}", organisation_check(&organisation));
    TaxNo::parse(&format!("{body}{}", credit_code_check(&body)))
}

/// GB 11714: 11 − Σ Cᵢ·Wᵢ mod 11, written X for 10 and 0 for 11; a letter counts from A = 10.
fn organisation_check(code: &str) -> char {
    const WEIGHTS: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = code.chars().zip(WEIGHTS).map(|(c, w)| c.to_digit(36).unwrap_or_default() * w).sum();
    match 11 - sum % 11 {
        10 => 'X',
        11 => '0',
        digit => char::from_digit(digit, 10).unwrap_or('0'),
    }
}

/// GB 32100: 31 − Σ Cᵢ·3^(i−1) mod 31 over 17 characters.
fn credit_code_check(body: &str) -> char {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    let value = |byte: u8| ALPHABET.iter().position(|&a| a == byte).unwrap_or_default();
    let (sum, _) =
        body.bytes().fold((0, 1), |(sum, weight), byte| (sum + value(byte) * weight, weight * 3 % 31));
    char::from(ALPHABET[(31 - sum % 31) % 31])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_two_access_units_with_two_using_units_each_and_one_on_demand_taxpayer() {
        let world = World::sample(Money::from_fen(100)).unwrap();
        let access: Vec<&Unit> = world.access_units().collect();
        assert_eq!(access.len(), 2);
        for unit in access {
            assert_eq!(world.using_units(unit).count(), 2);
            assert!(unit.sm4_key.is_some() && unit.sandbox_sm4_key.is_some());
            assert_ne!(unit.sm4_key, unit.sandbox_sm4_key);
        }
        assert_eq!(world.units.iter().filter(|unit| unit.credit.is_on_demand()).count(), 1);
        assert!(
            world.units.iter().filter(|unit| unit.role == Role::Using).all(|unit| unit.sm4_key.is_none())
        );
    }

    #[test]
    fn every_generated_credit_code_is_valid_and_all_differ() {
        let codes: std::collections::BTreeSet<TaxNo> =
            (0..2000).map(|serial| credit_code("440300", serial * 7).unwrap()).collect();
        assert_eq!(codes.len(), 2000);
    }
}
