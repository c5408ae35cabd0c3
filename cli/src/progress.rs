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
    Lines(Target),
    /// Nothing at all.
    Hidden,
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Where it is what the user asked for.
    Stdout,
    /// Where it is on the way to something else, whose output must stay clean.
    Stderr,
}

impl Target {
    fn say(self, words: &str) -> Result<(), CommandError> {
        match self {
            Self::Stdout => output::line(words),
            Self::Stderr => {
                output::note(words);
                Ok(())
            }
        }
    }
}

impl Progress {
    /// Progress for this target, or none at all for those who want it quiet.
    pub fn new(target: Target, quiet: bool) -> Self {
        let is_terminal = match target {
            Target::Stdout => io::stdout().is_terminal(),
            Target::Stderr => io::stderr().is_terminal(),
        };
        match (quiet, is_terminal) {
            (true, _) => Self::Hidden,
            (false, true) => Self::Bars(Bars::new(target)),
            (false, false) => Self::Lines(target),
        }
    }

    /// Shows a step.
    pub fn show(&mut self, step: &Step<'_>) -> Result<(), CommandError> {
        match self {
            Self::Hidden => Ok(()),
            Self::Bars(bars) => bars.show(step),
            // A number that grows is nothing for a log.
            Self::Lines(_) if step.current.is_some_and(|bytes| bytes > 0) => Ok(()),
            Self::Lines(target) => match step.id {
                Some(id) if !id.is_empty() => target.say(&format!("{id}: {}", step.status)),
                _ => target.say(step.status),
            },
        }
    }

    /// Leaves the bars as they are, and says what was left to say.
    pub fn finish(self) -> Result<(), CommandError> {
        match self {
            Self::Bars(bars) => bars.finish(),
            Self::Lines(_) | Self::Hidden => Ok(()),
        }
    }
}

/// The bars on a terminal.
#[derive(Debug)]
pub struct Bars {
    target: Target,
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
    /// What was said of the whole after the first layer: it belongs below them.
    last_words: Vec<String>,
}

impl Bars {
    fn new(target: Target) -> Self {
        let draw = match target {
            Target::Stdout => ProgressDrawTarget::stdout(),
            Target::Stderr => ProgressDrawTarget::stderr(),
        };
        Self {
            target,
            all: MultiProgress::with_draw_target(draw),
            layers: HashMap::new(),
            last_words: Vec::new(),
        }
    }

    fn show(&mut self, step: &Step<'_>) -> Result<(), CommandError> {
        let Some(id) = step.id.filter(|id| !id.is_empty()) else {
            match self.layers.is_empty() {
                true => self.all.println(step.status)?,
                false => self.last_words.push(step.status.to_owned()),
            }
            return Ok(());
        };
        // The one message that has an id and is about no layer.
        if step.status.starts_with("Pulling from ") {
            self.all.println(format!("{id}: {}", step.status))?;
            return Ok(());
        }
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

    fn finish(self) -> Result<(), CommandError> {
        for bar in self.layers.into_values() {
            bar.abandon();
        }
        self.last_words.iter().try_for_each(|words| self.target.say(words))
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
