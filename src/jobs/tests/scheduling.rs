//! When jobs run, how often, where, and how they end.

use super::*;

#[tokio::test]
async fn a_month_start_runs_when_the_clock_comes_to_it_and_once() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let job = Told::new(JobName::MonthStart, Way::Works, &bench.clock);
    let gateway = bench.start(&[&job]);
    let row = bench.row_when(JobName::MonthStart, |_| true).await;
    assert_eq!(row.due_at, Some(beijing("2026-12-01 00:05:00")));
    bench.clock.set(beijing("2026-12-01 00:04:59"));
    bench.clock.set(beijing("2026-12-01 00:05:00"));
    job.has_run(1).await;
    let row = bench.row_when(JobName::MonthStart, |row| row.last.is_some()).await;
    assert_eq!((row.due_at, row.fence), (Some(beijing("2027-01-01 00:05:00")), 1));
    let last = row.last.unwrap();
    assert_eq!((last.result, last.run, last.runner.as_str()), (JobResult::Ok, 1, "one"));
    assert_eq!(last.summary, r#"{"done":1,"failed":0,"nothing":0}"#);
    bench.clock.set(beijing("2026-12-31 23:59:00"));
    assert_eq!(job.runs().len(), 1);
    gateway.stop().await;
    let shown = String::from_utf8(bench.registry.render()).unwrap();
    assert!(shown.contains(r#"leqi_gateway_job_runs_total{job="month_start",result="ok"} 1"#), "{shown}");
    assert!(shown.contains("leqi_gateway_job_seconds_count{job=\"month_start\"} 1"), "{shown}");
}

#[tokio::test]
async fn months_that_were_missed_are_made_up_once_at_the_next_start() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let job = Told::new(JobName::MonthStart, Way::Works, &bench.clock);
    let gateway = bench.start(&[&job]);
    bench.row_when(JobName::MonthStart, |_| true).await;
    gateway.stop().await;
    bench.clock.set(beijing("2027-02-03 08:00:00"));
    let gateway = bench.start(&[&job]);
    let row = bench.row_when(JobName::MonthStart, |row| row.last.is_some()).await;
    gateway.stop().await;
    assert_eq!(job.runs().len(), 1);
    assert_eq!(row.due_at, Some(beijing("2027-03-01 00:05:00")));
}

#[tokio::test]
async fn of_three_gateways_one_runs_it() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let job = Told::new(JobName::MonthStart, Way::Works, &bench.clock);
    let config = || Config { jitter: Duration::ZERO, ..Config::default() };
    let gateways = ["one", "two", "three"].map(|runner| bench.start_with(config(), runner, &[&job]));
    bench.row_when(JobName::MonthStart, |_| true).await;
    bench.clock.set(beijing("2026-12-01 00:05:01"));
    job.has_run(1).await;
    bench.row_when(JobName::MonthStart, |row| row.last.is_some()).await;
    for gateway in gateways {
        gateway.stop().await;
    }
    assert_eq!(job.runs().len(), 1);
    assert_eq!(bench.row(JobName::MonthStart).await.unwrap().fence, 1);
}

#[tokio::test]
async fn the_lease_is_held_until_the_end_of_the_run_is_written_down() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let job = Told::new(JobName::MonthStart, Way::Works, &bench.clock);
    let (asked, may_end) = (Semaphore::new(0), Semaphore::new(0));
    let table = Arc::new(SlowEnd { table: Arc::clone(&bench.store.jobs), asked, may_end });
    let config = Config { jitter: Duration::ZERO, ..Config::default() };
    let gateway = bench.start_on(Arc::clone(&table) as _, config, "one", &[&job]);
    bench.row_when(JobName::MonthStart, |_| true).await;
    bench.clock.set(beijing("2026-12-01 00:05:01"));
    job.has_run(1).await;
    // the job is done and its row still says that it is due
    table.asked.acquire().await.unwrap().forget();
    assert!(bench.town.try_lease(JobName::MonthStart.as_str()).await.unwrap().is_none());
    table.may_end.add_permits(1);
    bench.row_when(JobName::MonthStart, |row| row.last.is_some()).await;
    gateway.stop().await;
    assert!(bench.town.try_lease(JobName::MonthStart.as_str()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_plan_made_from_what_has_changed_since_puts_off_no_turn() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let (table, name) = (&bench.store.jobs, JobName::MonthStart);
    let (december, january) = (beijing("2026-12-01 00:05:00"), beijing("2027-01-01 00:05:00"));
    let plan = |due_at, seen: Option<Timestamp>| {
        let schedule = "on the 1st at 00:05".to_owned();
        let seen = seen.map(|due_at| (schedule.clone(), Some(due_at)));
        table.plan(JobPlan { name, schedule, due_at: Some(due_at), seen })
    };
    let due = async || bench.row(name).await.unwrap().due_at;
    plan(december, None).await.unwrap();
    // a gateway that looked before the first had planned it, and wrote when the turn had come
    plan(january, None).await.unwrap();
    assert_eq!(due().await, Some(december));
    plan(january, Some(beijing("2026-11-01 00:05:00"))).await.unwrap();
    assert_eq!(due().await, Some(december));
    plan(january, Some(december)).await.unwrap();
    assert_eq!(due().await, Some(january));
}

#[tokio::test]
async fn whoever_lost_the_lease_stops_and_cannot_write_down_an_end() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let job = Told::new(JobName::MonthStart, Way::Steps, &bench.clock);
    let gateway = bench.start(&[&job]);
    bench.row_when(JobName::MonthStart, |_| true).await;
    bench.clock.set(beijing("2026-12-01 00:05:01"));
    let row = bench.row_when(JobName::MonthStart, |row| row.running.is_some()).await;
    assert_eq!((row.fence, row.running.unwrap().runner.as_str()), (1, "one"));
    job.has_begun(4).await;
    // the connection of the first breaks: another takes over
    bench.town.1.store(true, Ordering::SeqCst);
    bench.town.0.lock().unwrap().clear();
    *job.way.lock().unwrap() = Way::Works;
    let other = bench.start_with(Config { jitter: Duration::ZERO, ..Config::default() }, "two", &[&job]);
    let row = bench.row_when(JobName::MonthStart, |row| row.last.is_some()).await;
    assert_eq!((row.fence, row.last.unwrap().runner.as_str()), (2, "two"));
    job.steps.add_permits(100);
    gateway.stop().await;
    other.stop().await;
    let row = bench.row(JobName::MonthStart).await.unwrap();
    assert_eq!((row.fence, row.last.unwrap().result), (2, JobResult::Ok));
    assert_eq!(row.due_at, Some(beijing("2027-01-01 00:05:00")));
}

#[tokio::test]
async fn what_did_not_work_is_tried_again_and_a_panic_ends_only_its_run() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let job = Told::new(JobName::MonthStart, Way::Panics, &bench.clock);
    let gateway = bench.start(&[&job]);
    bench.row_when(JobName::MonthStart, |_| true).await;
    bench.clock.set(beijing("2026-12-01 00:05:01"));
    let row = bench.row_when(JobName::MonthStart, |row| row.failures == 1).await;
    let last = row.last.unwrap();
    assert_eq!(last.result, JobResult::Failed);
    assert!(last.error.unwrap().contains("bug"));
    assert_eq!(crate::domain::beijing_day(row.due_at.unwrap()), crate::domain::beijing_day(last.ended_at));

    *job.way.lock().unwrap() = Way::Halves;
    bench.clock.set(beijing("2026-12-01 00:10:05"));
    let row = bench.row_when(JobName::MonthStart, |row| row.failures == 2).await;
    let last = row.last.unwrap();
    assert_eq!((last.result, row.succeeded_at), (JobResult::Partial, None));
    assert_eq!(last.summary, r#"{"done":1,"failed":1,"nothing":0,"notes":["half"]}"#);

    *job.way.lock().unwrap() = Way::Works;
    bench.clock.set(beijing("2026-12-01 00:21:00"));
    let row = bench.row_when(JobName::MonthStart, |row| row.failures == 0).await;
    assert_eq!(row.due_at, Some(beijing("2027-01-01 00:05:00")));
    assert!(row.succeeded_at.is_some());
    gateway.stop().await;
    assert_eq!(job.runs().len(), 3);
}

#[tokio::test]
async fn a_stop_ends_a_run_between_two_steps_and_the_next_start_makes_up_for_it() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let job = Told::new(JobName::MonthStart, Way::Steps, &bench.clock);
    let gateway = bench.start(&[&job]);
    bench.row_when(JobName::MonthStart, |_| true).await;
    bench.clock.set(beijing("2026-12-01 00:05:01"));
    job.has_begun(4).await;
    gateway.trigger.escalate();
    // the steps that have begun are finished
    job.steps.add_permits(4);
    let row = bench.row_when(JobName::MonthStart, |row| row.last.is_some()).await;
    gateway.stop().await;
    let last = row.last.unwrap();
    assert_eq!((last.result, row.running), (JobResult::Cancelled, None));
    assert_eq!(last.summary, r#"{"done":4,"failed":0,"nothing":0}"#);
    assert_eq!(row.due_at, Some(beijing("2026-12-01 00:05:00")));

    *job.way.lock().unwrap() = Way::Works;
    let gateway = bench.start(&[&job]);
    bench.row_when(JobName::MonthStart, |row| row.succeeded_at.is_some()).await;
    gateway.stop().await;
    assert_eq!(job.runs().len(), 2);
}

#[tokio::test]
async fn a_job_runs_when_it_is_asked_for_also_when_it_is_switched_off_and_keeps_its_turn() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let (monthly, off) = (
        Told::new(JobName::MonthStart, Way::Works, &bench.clock),
        Told::new(JobName::TopUp, Way::Works, &bench.clock),
    );
    let config = only(JobName::MonthStart, Config::schedule(JobName::MonthStart));
    let gateway = bench.start_with(config, "one", &[&monthly, &off]);
    let row = bench.row_when(JobName::TopUp, |_| true).await;
    assert_eq!((row.due_at, row.schedule.as_str()), (None, "off"));
    for job in [&monthly, &off] {
        bench.row_when(job.name, |_| true).await;
        bench.request(job.name).await;
        job.has_run(1).await;
        let row = bench.row_when(job.name, |row| row.last.is_some()).await;
        assert_eq!((row.requested, job.runs().len()), (None, 1));
    }
    let row = bench.row(JobName::MonthStart).await.unwrap();
    assert_eq!(row.due_at, Some(beijing("2026-12-01 00:05:00")));
    gateway.stop().await;
    assert_eq!(bench.store.audit.list(Some("month_start"), None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_allowed_and_the_others_follow() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let jobs = JobName::ALL.map(|name| Told::new(name, Way::Steps, &bench.clock));
    let gateway = bench.start(&jobs.iter().collect::<Vec<_>>());
    bench.row_when(JobName::Watch, |_| true).await;
    bench.clock.set(beijing("2026-12-02 00:00:00"));
    let running = async || {
        let rows = bench.store.jobs.all().await.unwrap();
        rows.iter().filter(|row| row.running.is_some()).count()
    };
    let begun = || jobs.iter().map(|job| job.runs().len()).sum::<usize>();
    while running().await < 2 || begun() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(begun(), 2);
    for job in &jobs {
        job.steps.add_permits(1000);
    }
    for job in &jobs {
        job.has_run(1).await;
        assert!(running().await <= 2);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_changed_schedule_counts_from_now_on_and_a_clock_set_back_forgets_no_turn() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let job = Told::new(JobName::Audit, Way::Works, &bench.clock);
    let at = |hour| only(JobName::Audit, Schedule::Daily(vec![jiff::civil::Time::constant(hour, 0, 0, 0)]));
    let gateway = bench.start_with(at(4), "one", &[&job]);
    bench.row_when(JobName::Audit, |_| true).await;
    gateway.stop().await;
    let gateway = bench.start_with(at(22), "one", &[&job]);
    let row = bench.row_when(JobName::Audit, |row| row.schedule == "daily at 22:00").await;
    assert_eq!(row.due_at, Some(beijing("2026-11-20 22:00:00")));
    gateway.stop().await;
    bench.clock.set(beijing("2026-11-18 10:00:00"));
    let gateway = bench.start_with(at(22), "one", &[&job]);
    bench.row_when(JobName::Audit, |row| row.due_at == Some(beijing("2026-11-18 22:00:00"))).await;
    gateway.stop().await;
    assert!(job.runs().is_empty());
}

#[tokio::test]
async fn runs_come_late_by_no_more_than_the_jitter() {
    let bench = Bench::at("2026-11-30 23:59:00").await;
    let jitter = Duration::from_secs(120);
    let job = Told::new(JobName::MonthStart, Way::Works, &bench.clock);
    let gateway = bench.start_with(Config { jitter, ..Config::default() }, "one", &[&job]);
    bench.row_when(JobName::MonthStart, |_| true).await;
    bench.clock.set(beijing("2026-12-01 00:07:00"));
    job.has_run(1).await;
    gateway.stop().await;
    assert_eq!(Schedule::Every(Duration::from_secs(60)).jitter(jitter), Duration::from_secs(6));
}
