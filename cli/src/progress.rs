//! How far a download is: bars on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{command_error::CommandError, output};

/// One message of the engine about its work.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The layer, where it is about one.
    pub id: Option<&'a str>,
    /// What happens.
    pub status: &'a str,
    /// Bytes done.
    pub current: Option<i64>,
    /// Bytes to do.
    pub total: Option<i64>,
}

/// Shows steps.
#[derive(Debug)]
pub enum Progress {
    /// A bar for each layer.
    Bars(Bars),
    /// A line for each change of state.
    Lines {
        /// Whether they go to standard error.
        on_stderr: bool,
    },
    /// Nothing at all.
    Hidden,
}

impl Progress {
    /// Progress of a command whose result it is.
    pub fn to_stdout() -> Self {
        match io::stdout().is_terminal() {
            true => Self::Bars(Bars::new(ProgressDrawTarget::stdout())),
            false => Self::Lines { on_stderr: false },
        }
    }

    /// Progress on the way to something else, whose output must stay clean.
    pub fn to_stderr() -> Self {
        match io::stderr().is_terminal() {
            true => Self::Bars(Bars::new(ProgressDrawTarget::stderr())),
            false => Self::Lines { on_stderr: true },
        }
    }

    /// No progress.
    pub fn hidden() -> Self {
        Self::Hidden
    }

    /// Shows a step.
    pub fn show(&mut self, step: &Step<'_>) -> Result<(), CommandError> {
        match self {
            Self::Hidden => Ok(()),
            Self::Bars(bars) => bars.show(step),
            // A number that grows is nothing for a log.
            Self::Lines { .. } if step.current.is_some_and(|bytes| bytes > 0) => Ok(()),
            Self::Lines { on_stderr } => {
                let line = match step.id {
                    Some(id) if !id.is_empty() => format!("{id}: {}", step.status),
                    _ => step.status.to_owned(),
                };
                match on_stderr {
                    true => output::note(line),
                    false => output::line(line)?,
                }
                Ok(())
            }
        }
    }

    /// Leaves the bars as they are.
    pub fn finish(self) {
        if let Self::Bars(bars) = self {
            for bar in bars.layers.into_values() {
                bar.abandon();
            }
        }
    }
}

/// The bars on a terminal.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Self {
        Self {
            all: MultiProgress::with_draw_target(target),
            layers: HashMap::new(),
        }
    }

    fn show(&mut self, step: &Step<'_>) -> Result<(), CommandError> {
        let Some(id) = step.id.filter(|id| !id.is_empty()) else {
            self.all.println(step.status)?;
            return Ok(());
        };
        let bar = self.layers.entry(id.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::no_length());
            bar.set_prefix(id.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let total = step
            .total
            .and_then(|bytes| u64::try_from(bytes).ok())
            .filter(|&bytes| bytes > 0);
        match (step.current.and_then(|bytes| u64::try_from(bytes).ok()), total) {
            (Some(current), Some(total)) => {
                bar.set_style(style("{prefix}: {msg} [{bar:30}] {bytes}/{total_bytes} {eta}"));
                bar.set_length(total);
                bar.set_position(current);
            }
            _ => bar.set_style(style("{prefix}: {msg}")),
        }
        bar.set_message(step.status.to_owned());
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
