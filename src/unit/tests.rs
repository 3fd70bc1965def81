//! The registry and the tokens on a real database.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    token::{TokenError, TokenRole, Tokens},
    *,
};
use crate::{
    clock::Clock,
    domain::Environment,
    store::{self, Store},
    telemetry::metrics::Metrics,
};

const KEY: &str = "0123456789abcdeffedcba9876543210";
const OTHER_KEY: &str = "00112233445566778899aabbccddeeff";
const ACCESS_ID: &str = "0123456789ABCDEF0123";
const USING_ID: &str = "FEDCBA98765432100123";

async fn opened(directory: &TempDir) -> Store {
    let path = directory.path().join("gateway.db");
    let config = store::testing::config(&path);
    store::open(&config, &store::Metrics::register(&Metrics::new().unwrap()).unwrap()).await.unwrap()
}

async fn registry(directory: &TempDir) -> (Store, Arc<Registry>) {
    let store = opened(directory).await;
    let master = MasterKey::load_or_create(&directory.path().join("master.key")).unwrap();
    let registry = Registry::open(Arc::clone(&store.units), master, Clock::system()).await.unwrap();
    (store, registry)
}

fn access_no() -> TaxNo {
    "91350100M000100Y43".parse().unwrap()
}

fn using_no() -> TaxNo {
    "123456789012345".parse().unwrap()
}

fn access() -> NewUnit {
    NewUnit {
        tax_no: access_no(),
        name: "集团".to_owned(),
        platform_id: ACCESS_ID.parse().unwrap(),
        province: "14400000000".parse().unwrap(),
        quota_mode: QuotaMode::Enforce,
        role: NewRole::Access { key: Some(Sm4Key::from_hex(KEY).unwrap()), sandbox_key: None },
    }
}

fn using() -> NewUnit {
    NewUnit {
        tax_no: using_no(),
        name: "子公司".to_owned(),
        platform_id: USING_ID.parse().unwrap(),
        role: NewRole::Using { access_unit: access_no() },
        ..access()
    }
}

#[tokio::test]
async fn an_access_unit_comes_before_its_using_units_and_goes_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let (store, registry) = registry(&directory).await;
    let early = registry.create(using(), "me").await.unwrap_err();
    assert!(matches!(early, UnitError::AccessUnitUnknown(_)), "{early}");
    registry.create(access(), "me").await.unwrap();
    registry.create(using(), "me").await.unwrap();
    let held = registry.delete(&access_no(), "me").await.unwrap_err();
    assert!(matches!(&held, UnitError::HasUsingUnits { using, .. } if *using == [using_no()]), "{held}");
    registry.delete(&using_no(), "me").await.unwrap();
    registry.delete(&access_no(), "me").await.unwrap();
    assert!(registry.list().is_empty());
    assert!(matches!(registry.delete(&access_no(), "me").await, Err(UnitError::Unknown(_))));
    let audit = store.audit.list(None, None, 10).await.unwrap();
    let actions: Vec<_> = audit.iter().map(|e| e.row.action.as_str()).collect();
    assert_eq!(actions, ["unit.delete", "unit.delete", "unit.create", "unit.create"]);
    assert!(audit.iter().all(|e| e.row.actor == "me" && !e.row.detail.contains(KEY)));
}

#[tokio::test]
async fn keys_survive_a_restart_and_are_found_by_the_access_id_in_either_case() {
    let directory = tempfile::tempdir().unwrap();
    let (store, first) = registry(&directory).await;
    first.create(access(), "me").await.unwrap();
    first.create(using(), "me").await.unwrap();
    drop(first);
    store.close().await;
    let database = store::testing::contents(&directory.path().join("gateway.db"));
    let key = Sm4Key::from_hex(KEY).unwrap();
    assert!(
        !database.windows(16).any(|w| w == key.expose())
            && !database.windows(32).any(|w| w == KEY.as_bytes())
    );

    let (_store, registry) = registry(&directory).await;
    let found = registry.key_for(&ACCESS_ID.to_ascii_lowercase(), Environment::Production).unwrap();
    assert_eq!(found.expose(), key.expose());
    assert!(registry.key_for(ACCESS_ID, Environment::Sandbox).is_none());
    assert!(registry.key_for(USING_ID, Environment::Production).is_none());
    assert!(registry.key_for("not an id", Environment::Production).is_none());
    let using = registry.by_tax_no(&using_no()).unwrap();
    assert!(registry.keys_of(&using).unwrap().production.is_some());
    let caller =
        registry.caller_for(&using_no(), "202007".parse().unwrap(), Environment::Production).unwrap();
    assert_eq!((caller.access_id.as_str(), caller.using_id.as_str()), (ACCESS_ID, USING_ID));
    let sandbox = registry.caller_for(&using_no(), "202007".parse().unwrap(), Environment::Sandbox);
    assert!(matches!(sandbox, Err(UnitError::NoKey { .. })));
}

#[tokio::test]
async fn another_master_key_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let (store, registry) = registry(&directory).await;
    registry.create(access(), "me").await.unwrap();
    let other = MasterKey::generate().unwrap();
    let error = Registry::open(Arc::clone(&store.units), other, Clock::system()).await.unwrap_err();
    assert!(error.to_string().contains(access_no().as_str()), "{error}");
    assert!(error.to_string().contains("master key file"), "{error}");
}

#[tokio::test]
async fn ids_the_wrong_way_round_are_named_when_a_unit_is_registered() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, registry) = registry(&directory).await;
    registry.create(access(), "me").await.unwrap();
    let same = NewUnit { platform_id: ACCESS_ID.to_ascii_lowercase().parse().unwrap(), ..using() };
    let error = registry.create(same, "me").await.unwrap_err();
    assert!(matches!(error, UnitError::IdsSwapped { .. }), "{error}");
    registry.create(using(), "me").await.unwrap();
    let change = UnitChange { platform_id: Some(USING_ID.parse().unwrap()), ..UnitChange::default() };
    let taken = registry.update(&access_no(), change, "me").await.unwrap_err();
    assert!(matches!(&taken, UnitError::PlatformIdTaken { owner, .. } if *owner == using_no()), "{taken}");
}

#[tokio::test]
async fn ids_the_wrong_way_round_are_named_in_traffic() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, registry) = registry(&directory).await;
    registry.create(access(), "me").await.unwrap();
    registry.create(using(), "me").await.unwrap();
    let second = NewUnit {
        tax_no: "543210987654321".parse().unwrap(),
        platform_id: "A".repeat(20).parse().unwrap(),
        ..access()
    };
    registry.create(second, "me").await.unwrap();

    assert!(matches!(registry.diagnose_ids(ACCESS_ID, USING_ID), IdCheck::Fits { .. }));
    assert!(matches!(registry.diagnose_ids(ACCESS_ID, ACCESS_ID), IdCheck::Fits { .. }));
    let swapped = registry.diagnose_ids(USING_ID, ACCESS_ID);
    let sentence = swapped.sentence_zh().unwrap();
    assert!(matches!(swapped, IdCheck::Swapped { .. }) && sentence.contains("填反"), "{sentence}");
    assert!(matches!(registry.diagnose_ids(&"A".repeat(20), USING_ID), IdCheck::NotTogether { .. }));
    assert!(matches!(registry.diagnose_ids(USING_ID, USING_ID), IdCheck::NotTogether { .. }));
    assert!(matches!(registry.diagnose_ids("", USING_ID), IdCheck::UnknownAccess));
    assert!(matches!(registry.diagnose_ids(ACCESS_ID, ""), IdCheck::UnknownUsing { .. }));
}

#[tokio::test]
async fn what_does_not_belong_to_the_role_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, registry) = registry(&directory).await;
    let keyless = NewUnit { role: NewRole::Access { key: None, sandbox_key: None }, ..access() };
    assert!(matches!(registry.create(keyless, "me").await, Err(UnitError::KeyMissing)));
    let nowhere = NewUnit { province: "99900000000".parse().unwrap(), ..access() };
    assert!(matches!(registry.create(nowhere, "me").await, Err(UnitError::Province(_))));
    let nameless = NewUnit { name: "  ".to_owned(), ..access() };
    assert!(matches!(registry.create(nameless, "me").await, Err(UnitError::Name)));

    registry.create(access(), "me").await.unwrap();
    assert!(matches!(registry.create(access(), "me").await, Err(UnitError::Exists(_))));
    registry.create(using(), "me").await.unwrap();
    let below = NewUnit {
        tax_no: "543210987654321".parse().unwrap(),
        platform_id: "A".repeat(20).parse().unwrap(),
        role: NewRole::Using { access_unit: using_no() },
        ..access()
    };
    assert!(matches!(registry.create(below, "me").await, Err(UnitError::AccessUnitIsUsing(_))));
    let key = UnitChange { key: Some(Sm4Key::from_hex(KEY).unwrap()), ..UnitChange::default() };
    assert!(matches!(registry.update(&using_no(), key, "me").await, Err(UnitError::KeyOnUsingUnit)));
    let access_unit = UnitChange { access_unit: Some(using_no()), ..UnitChange::default() };
    assert!(matches!(registry.update(&access_no(), access_unit, "me").await, Err(UnitError::NotUsingUnit)));
}

#[tokio::test]
async fn a_change_leaves_the_rest_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, registry) = registry(&directory).await;
    let before = registry.create(access(), "me").await.unwrap();
    let change = UnitChange {
        sandbox_key: Some(Sm4Key::from_hex(OTHER_KEY).unwrap()),
        quota_mode: Some(QuotaMode::Observe),
        ..UnitChange::default()
    };
    let after = registry.update(&access_no(), change, "me").await.unwrap();
    assert_eq!(after.role, Role::Access { has_key: true, has_sandbox_key: true });
    assert_eq!((after.name.as_str(), after.quota_mode), (before.name.as_str(), QuotaMode::Observe));
    let sandbox = registry.key_for(ACCESS_ID, Environment::Sandbox).unwrap();
    assert_eq!(sandbox.to_hex(), OTHER_KEY);
    assert_eq!(registry.key_for(ACCESS_ID, Environment::Production).unwrap().to_hex(), KEY);
}

#[tokio::test]
async fn a_token_is_good_until_it_is_revoked_and_is_stored_as_a_hash() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(&directory).await;
    let tokens = Tokens::new(Arc::clone(&store.tokens), Clock::system());
    let token = tokens.create("console", TokenRole::Operator, "cli").await.unwrap();
    let info = tokens.check(&token).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.role), ("console", TokenRole::Operator));
    assert!(TokenRole::Viewer < TokenRole::Operator && TokenRole::Operator < TokenRole::Admin);
    let taken = tokens.create("console", TokenRole::Admin, "cli").await;
    assert!(matches!(taken, Err(TokenError::NameTaken(_))));
    for wrong in ["", "lgw_", &token[..token.len() - 1], &format!("{token}A"), &"x".repeat(4000)] {
        assert_eq!(tokens.check(wrong).await.unwrap(), None);
    }
    tokens.revoke("console", "cli").await.unwrap();
    assert_eq!(tokens.check(&token).await.unwrap(), None);
    assert!(matches!(tokens.revoke("console", "cli").await, Err(TokenError::Unknown(_))));
    let again = tokens.create("console", TokenRole::Viewer, "cli").await.unwrap();
    assert_ne!(again, token);
    assert_eq!(tokens.list().await.unwrap().len(), 2);
    store.close().await;
    let database = store::testing::contents(&directory.path().join("gateway.db"));
    assert!(!database.windows(again.len()).any(|w| w == again.as_bytes()));
}

#[tokio::test]
async fn gateways_on_one_database_learn_of_one_another_and_lose_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let (store, here) = registry(&directory).await;
    let master = MasterKey::load_or_create(&directory.path().join("master.key")).unwrap();
    let there = Registry::open(Arc::clone(&store.units), master, Clock::system()).await.unwrap();
    here.create(access(), "me").await.unwrap();
    // an unknown id is looked for at once, the next one only after a second; what is no id and what is known, never
    assert!(there.look_for([ACCESS_ID, ""]).await);
    assert!(there.key_for(ACCESS_ID, Environment::Production).is_some());
    assert!(!there.look_for([ACCESS_ID, "no id"]).await);
    here.create(using(), "me").await.unwrap();
    assert!(there.look_for([ACCESS_ID, USING_ID]).await);
    assert!(there.by_platform_id(USING_ID).is_none());
    there.refresh().await.unwrap();
    assert_eq!(there.list(), here.list());

    for n in 0..20 {
        let name = UnitChange { name: Some(format!("集团{n}")), ..UnitChange::default() };
        let mode = if n % 2 == 0 { QuotaMode::Observe } else { QuotaMode::Off };
        let treated = UnitChange {
            quota_mode: Some(mode),
            key: Some(Sm4Key::from_hex(OTHER_KEY).unwrap()),
            ..UnitChange::default()
        };
        let tax_no = access_no();
        let (named, treated) =
            tokio::join!(here.update(&tax_no, name, "me"), there.update(&tax_no, treated, "you"));
        named.unwrap();
        treated.unwrap();
        here.refresh().await.unwrap();
        let unit = here.by_tax_no(&tax_no).unwrap();
        assert_eq!((unit.name.as_str(), unit.quota_mode), (format!("集团{n}").as_str(), mode));
        let key = here.key_for(ACCESS_ID, Environment::Production).unwrap();
        assert_eq!(key.expose(), Sm4Key::from_hex(OTHER_KEY).unwrap().expose());
    }

    let held = there.delete(&access_no(), "you").await.unwrap_err();
    assert!(matches!(held, UnitError::HasUsingUnits { .. }), "{held}");
    here.delete(&using_no(), "me").await.unwrap();
    there.delete(&access_no(), "you").await.unwrap();
    let gone = here.update(&access_no(), UnitChange::default(), "me").await.unwrap_err();
    assert!(matches!(gone, UnitError::Unknown(_)), "{gone}");
    assert!(here.list().is_empty(), "whoever is told so knows it from then on");
}
