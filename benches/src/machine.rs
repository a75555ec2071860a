//! What the figures were taken on.

use std::fs;
use std::thread::available_parallelism;

use billing::Clock;
use web::SystemClock;

use crate::Failure;
use crate::page::Page;

/// Names the machine, the day and the build.
pub(crate) fn tell(page: &mut Page) -> Result<(), Failure> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().to_owned(),
        )
    };
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let release = read("/proc/sys/kernel/osrelease");
    // Whose build of it that is says nothing of its speed.
    let release = release.trim().split('-').next().unwrap_or("unknown");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    page.line(&format!(
        "Taken {} on {} processors ({}), {} of memory, Linux {release}, load {load} at the start.",
        SystemClock.now(),
        available_parallelism()?,
        value(&cpu, "model name"),
        value(&memory, "MemTotal"),
    ))?;
    Ok(())
}
