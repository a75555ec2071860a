//! `meterline status`: its arguments, and what it prints.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use meterline_cli::status::{Rate, Snapshot, StatusError, Watch};
use rustix::termios::tcgetwinsize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use web::Settings;

use super::rebuild::streams_client;
use super::{Failure, complain};

/// The terminal's other screen, from its top, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[H\x1b[2J";
/// Columns and rows of a terminal that does not say.
const SIZE_USUAL: (usize, usize) = (80, 24);

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// Look once, and end; rates take two looks, one interval apart.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
          value_parser = clap::value_parser!(u16).range(1..=3_600))]
    interval_s: u16,
    /// How many customers are looked at, at most.
    #[arg(long, default_value_t = 200, value_name = "CUSTOMERS",
          value_parser = clap::value_parser!(u16).range(1..=5_000))]
    customers: u16,
    /// Print JSON, a line for each look.
    #[arg(long)]
    json: bool,
}

/// Shows how the system does, until Ctrl-C.
pub(crate) async fn run(arguments: StatusArguments) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let customers_max = usize::from(arguments.customers);
    let streams = streams_client().await?;
    let mut watch = Watch::new(settings.ledger(), streams, settings.clock(), customers_max);
    let pause = Duration::from_secs(arguments.interval_s.into());
    if arguments.once {
        watch.look_at_all().await?;
        tokio::time::sleep(pause).await;
        let seen = watch.look_at_all().await?;
        io::stdout().write_all(shown(&seen, arguments.json)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut screen = Screen::open(!arguments.json && io::stdout().is_terminal())?;
    let watched = tokio::select! {
        watched = go_on(&mut watch, &mut screen, pause, arguments.json) => watched,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::from),
    };
    screen.close()?;
    match watched {
        // Whoever read it has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        watched => watched.map(|()| ExitCode::SUCCESS),
    }
}

async fn go_on(
    watch: &mut Watch,
    screen: &mut Screen,
    pause: Duration,
    as_json: bool,
) -> Result<(), Failure> {
    let mut ticks = interval_at(Instant::now(), pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_seen = false;
    loop {
        ticks.tick().await;
        match watch.look().await {
            Ok(seen) => screen.show(&shown(&seen, as_json)?)?,
            // A moment's failure does not end a watch that has begun.
            Err(error) if has_seen => screen.complain(&error)?,
            Err(error) => return Err(error.into()),
        }
        has_seen = true;
    }
}

/// Where looks are shown: one over the other on a terminal, else one after the other.
struct Screen {
    is_terminal: bool,
    last: String,
}

impl Screen {
    fn open(is_terminal: bool) -> io::Result<Self> {
        let screen = Self {
            is_terminal,
            last: String::new(),
        };
        screen.control(ENTER)?;
        Ok(screen)
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        self.write(text)?;
        text.clone_into(&mut self.last);
        Ok(())
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        match self.size() {
            None => out.write_all(text.as_bytes())?,
            Some((columns, rows)) => {
                self.control(CLEAR)?;
                out.write_all(fit(text, columns, rows).as_bytes())?;
            }
        }
        out.flush()
    }

    /// Columns and rows of the terminal, as it is now.
    fn size(&self) -> Option<(usize, usize)> {
        let is_known = |size: &rustix::termios::Winsize| size.ws_col > 0 && size.ws_row > 0;
        let size = tcgetwinsize(io::stdout()).ok().filter(is_known);
        let size = size.map_or(SIZE_USUAL, |it| (it.ws_col.into(), it.ws_row.into()));
        self.is_terminal.then_some(size)
    }

    /// Says that what is shown is not of now.
    fn complain(&mut self, error: &StatusError) -> io::Result<()> {
        if self.is_terminal {
            self.write(&format!("not read: {error}; trying again\n{}", self.last))?;
        } else {
            complain("meterline", error);
        }
        Ok(())
    }

    /// Leaves what was seen last where the shell goes on.
    fn close(&self) -> io::Result<()> {
        self.control(LEAVE)?;
        if self.is_terminal {
            io::stdout().write_all(self.last.as_bytes())?;
        }
        Ok(())
    }

    fn control(&self, sequence: &str) -> io::Result<()> {
        match self.is_terminal {
            true => io::stdout().write_all(sequence.as_bytes()),
            false => Ok(()),
        }
    }
}

/// What of `text` a terminal has room for, so that it does not move what is above: the last
/// row stays free for the cursor.
fn fit(text: &str, columns: usize, rows: usize) -> String {
    let lines = text.lines().take(rows.saturating_sub(1));
    let cut = |line: &str| line.chars().take(columns).chain(['\n']).collect::<String>();
    lines.map(cut).collect()
}

fn shown(seen: &Snapshot, as_json: bool) -> Result<String, serde_json::Error> {
    if as_json {
        return Ok(serde_json::to_string(seen)? + "\n");
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_lines(&mut text, seen);
    // What others named must not move the cursor.
    Ok(text.replace(|c: char| c.is_control() && c != '\n', "?"))
}

fn write_lines(text: &mut String, seen: &Snapshot) -> std::fmt::Result {
    let usage = &seen.usage;
    let rate = |rate: Option<Rate>| rate.map_or_else(|| "-".to_owned(), |rate| rate.to_string());
    writeln!(text, "Meterline      {}\n", seen.at)?;
    let of = match usage.more_customers {
        true => "of more customers, these",
        false => "all",
    };
    writeln!(
        text,
        "usage          {} events a second ({of} {} customers)",
        rate(usage.events_per_second),
        usage.customers
    )?;
    let events = usage.events;
    writeln!(
        text,
        "this period    {} delivered, {} pending, {} held, {} quarantined, {} rejected, {} voided",
        events.delivered,
        events.pending,
        events.held,
        events.quarantined,
        events.rejected,
        events.voided
    )?;
    match seen.rollup_lag_ms {
        Some(lag_ms) => writeln!(text, "rollup         {} behind", duration(lag_ms))?,
        None => writeln!(text, "rollup         the audit log has no stream")?,
    }
    let pending = seen.pending;
    let plus = if pending.more { " or more" } else { "" };
    match pending.oldest_ms {
        0 => writeln!(
            text,
            "pending        none ({}{plus} listed)",
            pending.listed
        )?,
        oldest_ms => writeln!(
            text,
            "pending        the oldest for {} ({}{plus} listed)",
            duration(oldest_ms),
            pending.listed
        )?,
    }
    writeln!(text, "alerts         {}", alerts(seen))?;
    write_tables(text, seen, rate)
}

/// What somebody has to look after, in words.
fn alerts(seen: &Snapshot) -> String {
    let (events, notifications) = (seen.usage.events, seen.notifications);
    let plus = if notifications.more { "+" } else { "" };
    let mut alerts = Vec::new();
    let mut alert = |count: u64, plus: &str, what: &str| {
        if count > 0 {
            alerts.push(format!("{count}{plus} {what}"));
        }
    };
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let quarantined = events.quarantined + seen.usage.quarantined_before;
    alert(quarantined, "", "quarantined: meterline reconcile");
    alert(events.held, "", "held: meterline redrive --status held");
    let refusals = count(seen.unnamed_refusals);
    alert(refusals, "", "refusals without a name: meterline reconcile");
    let dead = count(notifications.dead);
    alert(
        dead,
        plus,
        "notifications given up: meterline notifications list",
    );
    let pending = count(notifications.pending);
    alert(pending, plus, "notifications to deliver");
    match alerts.is_empty() {
        true => "none".to_owned(),
        false => alerts.join("; "),
    }
}

fn write_tables(
    text: &mut String,
    seen: &Snapshot,
    rate: impl Fn(Option<Rate>) -> String,
) -> std::fmt::Result {
    writeln!(
        text,
        "\nbusiest        events a second       events        units   limit"
    )?;
    for busy in &seen.usage.busiest {
        let (customer, rate) = (&busy.customer_id, rate(busy.events_per_second));
        let (events, units) = (busy.events, busy.units);
        let used = busy.limit_used_percent;
        let used = used.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %"));
        writeln!(
            text,
            "{rate:>30} {events:>12} {units:>12} {used:>7}  {customer}"
        )?;
    }
    writeln!(text, "\nwebhooks")?;
    for event in &seen.webhooks {
        let customer = event.customer_id.as_ref().map_or("", |id| id.as_str());
        let (at, kind) = (&event.applied_at, &event.event_type);
        writeln!(text, "  {at}  {kind:<40} {customer}")?;
    }
    Ok(())
}

/// `3 s`, `12 min`, `4 h`: what is exact enough for somebody who looks.
fn duration(ms: i64) -> String {
    match ms {
        ..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000.. => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_what_it_has_room_for() {
        let text = "Meterline\n\nusage 1\nusage 2\n";
        assert_eq!(fit(text, 80, 24), text);
        assert_eq!(fit(text, 5, 4), "Meter\n\nusage\n");
    }

    #[test]
    fn durations_are_short() {
        for (ms, text) in [
            (0, "0.0 s"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (900_000, "15 min"),
            (86_400_000, "24 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
