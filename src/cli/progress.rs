//! What the stages tell, on a terminal, in a log, or as JSON lines.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::args::Global;
use super::diagnose::{self, one_line};
use super::style::Style;
use crate::base::error::Diagnostic;
use crate::report::{EVENT_SCHEMA, Event, Reporter, Stage};

/// Where JSON lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// For a command that does something: the events are its output.
    Out,
    /// For a command that answers a question: standard output belongs to the answer.
    Err,
}

/// Shows events on standard error: one line a stage that stays standing with its figures.
pub struct Progress {
    style: Style,
    verbose: u8,
    quiet: bool,
    json: Option<Stream>,
    live: bool,
    warnings: AtomicU32,
    state: Mutex<State>,
}

struct State {
    stage_began: Instant,
    shown: Instant,
    /// A line without its end stands on the terminal.
    open: bool,
}

/// How often a live line is drawn anew.
const REDRAW_MS: u128 = 80;

impl Progress {
    /// Returns what the options ask for; `stream` is where JSON lines would go.
    pub fn new(global: &Global, stream: Stream) -> Self {
        let now = Instant::now();
        Self {
            style: Style::for_stderr(global.color),
            verbose: global.verbose,
            quiet: global.quiet,
            json: global.json.then_some(stream),
            live: std::io::stderr().is_terminal() && !global.json && !global.quiet,
            warnings: AtomicU32::new(0),
            state: Mutex::new(State { stage_began: now, shown: now, open: false }),
        }
    }

    /// Returns how many warnings there were.
    pub fn warnings(&self) -> u32 {
        self.warnings.load(Ordering::Relaxed)
    }

    /// Shows the error that ends the program.
    pub fn error(&self, error: &dyn Diagnostic) {
        if let Some(stream) = self.json {
            json_line(stream, &diagnose::json(error));
        }
        if self.json != Some(Stream::Err) {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.line(&mut state, diagnose::text(error, self.style).trim_end());
        }
    }

    fn text(&self, event: &Event<'_>, state: &mut State) {
        match event {
            Event::Begin { .. } => state.stage_began = Instant::now(),
            Event::Progress { stage, done, total, item } => {
                if self.live && state.shown.elapsed().as_millis() >= REDRAW_MS {
                    state.shown = Instant::now();
                    state.open = true;
                    let line = format!("{} {done}/{total} {item}", head(*stage));
                    let short: String = one_line(&line).chars().take(100).collect();
                    write_raw(&format!("\r\x1b[K{short}"));
                }
            }
            Event::End { stage, figures } if !self.quiet => {
                let seconds = state.stage_began.elapsed().as_secs_f32();
                self.line(state, &format!("{} {figures} ({seconds:.2} s)", self.style.name(&head(*stage))));
            }
            Event::End { .. } => {}
            Event::Warning { message, .. } => {
                self.line(state, &format!("{} {}", self.style.warning("warning:"), one_line(message)));
            }
            Event::Detail { message, .. } if self.verbose > 0 && !self.quiet => {
                self.line(state, &format!("  {}", one_line(message)));
            }
            Event::Detail { .. } => {}
        }
    }

    fn line(&self, state: &mut State, text: &str) {
        let clear = if state.open { "\r\x1b[K" } else { "" };
        state.open = false;
        write_line(&format!("{clear}{text}"));
    }
}

/// Says something on standard error outside of any stage.
pub fn note(text: &str) {
    write_line(text);
}

fn head(stage: Stage) -> String {
    format!("{:<9}", stage.name())
}

fn json_line(stream: Stream, value: &serde_json::Value) {
    match stream {
        Stream::Out => {
            let _ = writeln!(std::io::stdout().lock(), "{value}"); // as below
        }
        Stream::Err => write_line(&value.to_string()),
    }
}

/// A closed or full standard error must not fail a build: the image is what counts.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn write_raw(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush()); // as above
}

impl Reporter for Progress {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Warning { .. }) {
            self.warnings.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(stream) = self.json {
            let mut value = serde_json::to_value(event).expect("invariant: events are plain data");
            value["schema"] = EVENT_SCHEMA.into();
            return json_line(stream, &value);
        }
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.text(event, &mut state);
    }
}
