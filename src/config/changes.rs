//! What differs between two configurations, and what of that a running gateway cannot take over.

use super::{Config, Listen};

impl Config {
    /// The sections that differ, by the names they have in the file.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<String> {
        // every section is named here, so that a new one cannot be forgotten
        let Self {
            listen,
            admin,
            ops,
            upstreams,
            routes,
            store,
            secrets,
            quota,
            unregistered,
            limits,
            jobs,
            request_log,
            log,
            platform,
            workers,
            reload,
        } = self;
        let mut changed = Vec::new();
        let mut note = |name: String, differs: bool| {
            if differs {
                changed.push(name);
            }
        };
        for index in 0..listen.len().max(new.listen.len()) {
            note(format!("listen[{index}]"), listen.get(index) != new.listen.get(index));
        }
        note("admin".to_owned(), *admin != new.admin);
        note("ops".to_owned(), *ops != new.ops);
        for index in 0..upstreams.len().max(new.upstreams.len()) {
            note(format!("upstream[{index}]"), upstreams.get(index) != new.upstreams.get(index));
        }
        note("route".to_owned(), *routes != new.routes);
        note("store".to_owned(), *store != new.store);
        note("secrets".to_owned(), *secrets != new.secrets);
        note("quota".to_owned(), *quota != new.quota || *unregistered != new.unregistered);
        note("limits".to_owned(), *limits != new.limits);
        note("jobs".to_owned(), *jobs != new.jobs);
        note("request_log".to_owned(), *request_log != new.request_log);
        note("log".to_owned(), *log != new.log);
        note("platform".to_owned(), *platform != new.platform);
        note("runtime".to_owned(), *workers != new.workers);
        note("reload".to_owned(), *reload != new.reload);
        changed
    }

    /// The keys whose new value takes a restart: what is opened once, at the start.
    #[must_use]
    pub fn restart_needed(&self, new: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut note = |name: &str, differs: bool| {
            if differs {
                keys.push(name.to_owned());
            }
        };
        if self.listen.len() == new.listen.len() {
            for (index, (old, new)) in self.listen.iter().zip(&new.listen).enumerate() {
                note(&format!("listen[{index}].address"), address(old) != address(new));
            }
        } else {
            note("listen (how many)", true);
        }
        note("admin.address", self.admin.address != new.admin.address);
        note("ops.address", self.ops.address != new.ops.address);
        note("store", self.store != new.store);
        note("secrets.master_key_file", self.secrets != new.secrets);
        let (old, new_log) = (&self.request_log, &new.request_log);
        note("request_log.body_limit", old.body_limit != new_log.body_limit);
        note("request_log.queue", old.queue != new_log.queue);
        note("request_log.retention", old.retention != new_log.retention);
        note("jobs", self.jobs != new.jobs);
        note("runtime.workers", self.workers != new.workers);
        note("log.format", self.log.format != new.log.format);
        keys
    }
}

const fn address(listen: &Listen) -> std::net::SocketAddr {
    listen.listener.address
}
