//! What each client library costs beside the plain stubs of its language: the same jobs through
//! both, by turns in one run, on brokers that keep their jobs in memory.

pub(crate) mod bare;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::driver::{Driver, Load};
use crate::machine::Machine;
use crate::metric;
use crate::report::{Figure, Report};
use crate::table;

/// Calls in flight, and jobs at work.
const IN_FLIGHT: usize = 32;

/// Measures the client libraries beside plain stubs.
#[derive(Args)]
pub(crate) struct Libraries {
    /// Rounds; medians and ranges are taken over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// The libraries.
    #[arg(long, value_enum, num_args = 1.., default_values = ["rust", "go", "node", "python"])]
    clients: Vec<Language>,

    /// Jobs of each workload, in the place of each language's own number: for a quick look.
    #[arg(long)]
    jobs: Option<usize>,

    /// Write one JSON object a line to this file, renewed after each round.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// The `lessor` binary; a release build, or the figures mean nothing.
    #[arg(long, env = "LESSOR_BINARY", value_name = "PATH")]
    binary: PathBuf,

    /// The Python that has the library installed.
    #[arg(long, value_name = "PATH")]
    python: PathBuf,

    /// The driver of the Go library, built.
    #[arg(long, value_name = "PATH")]
    go: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Go,
    Node,
    Python,
}

/// What stands between a program and the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing but generated code.
    Stubs,
    /// The library.
    Library,
    /// The library, where handlers may block.
    Threads,
}

impl Language {
    fn system(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Node => "node",
            Self::Python => "python",
        }
    }

    /// Jobs of a workload: a second or two of work.
    fn jobs(self) -> usize {
        match self {
            Self::Rust => 60_000,
            Self::Go => 40_000,
            Self::Node => 15_000,
            Self::Python => 5000,
        }
    }

    fn forms(self) -> &'static [Form] {
        match self {
            Self::Python => &[Form::Stubs, Form::Library, Form::Threads],
            _ => &[Form::Stubs, Form::Library],
        }
    }
}

impl Form {
    fn setting(self) -> &'static str {
        match self {
            Self::Stubs => metric::STUBS,
            Self::Library => metric::LIBRARY,
            Self::Threads => "library, handlers in threads",
        }
    }
}

impl Libraries {
    /// A program and its first arguments.
    fn driver(
        &self,
        language: Language,
        form: Form,
        workload: &str,
    ) -> anyhow::Result<Vec<OsString>> {
        let form_flag = [
            "--form".into(),
            match form {
                Form::Stubs => "stubs".into(),
                Form::Library => "library".into(),
                Form::Threads => "threads".into(),
            },
        ];
        let program: Vec<OsString> = match (language, form, workload) {
            (Language::Rust, Form::Stubs, metric::W2) => {
                return Ok(vec![std::env::current_exe()?.into(), "bare".into()]);
            }
            (Language::Rust, _, _) => {
                let flag = if form == Form::Stubs { "--unary" } else { "--handlers" };
                let output = ["-o", "json", flag].map(OsString::from);
                let command: [OsString; 2] = [self.binary.clone().into(), "bench".into()];
                return Ok(command.into_iter().chain(output).collect());
            }
            (Language::Go, _, _) => vec![self.go.clone().into()],
            (Language::Node, _, _) => vec!["node".into(), "client-node/bench/driver.mjs".into()],
            (Language::Python, _, _) => {
                vec![self.python.clone().into(), "client-python/bench/driver.py".into()]
            }
        };
        Ok(program.into_iter().chain(form_flag).collect())
    }

    /// W1, and the drain of its jobs.
    async fn one(&self, language: Language, form: Form, report: &mut Report) -> anyhow::Result<()> {
        let broker = Machine::new(self.binary.clone())?.broker("sqlite::memory:").await?;
        let jobs = self.jobs.unwrap_or_else(|| language.jobs());
        for workload in [metric::W1, metric::W2] {
            let driver = Driver {
                command: self.driver(language, form, workload)?,
                last: Vec::new(),
                address: broker.url().to_owned(),
            };
            let queue = "library".to_owned();
            let load = Load { workload, queue, jobs, in_flight: IN_FLIGHT, more: Vec::new() };
            let seen = match workload {
                metric::W1 => driver.produce(&load).await,
                _ => driver.drain(&load).await,
            };
            let seen = seen.with_context(|| workload)?;
            let setting = form.setting();
            let mut add = |metric, unit, value| {
                let system = language.system();
                let setting = setting.to_owned();
                report.add(Figure { system, setting, workload, metric, unit }, value);
            };
            add(metric::RATE, "jobs/s", seen.rate);
            #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
            add(metric::CPU_CLIENT, "s/100k jobs", seen.cpu_s * 1e5 / jobs as f64);
        }
        Ok(())
    }
}

pub(crate) async fn measure(asked: Libraries) -> anyhow::Result<()> {
    ensure!(asked.rounds > 0, "no rounds are asked for");
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for &language in &asked.clients {
            let mut forms = language.forms().to_vec();
            // Nobody is always the first, on a machine that others may have just made warm.
            forms.rotate_left((round - 1) % language.forms().len());
            for form in forms {
                let name = format!("{}, {}", language.system(), form.setting());
                eprintln!("round {round} of {}: {name}", asked.rounds);
                asked.one(language, form, &mut report).await.context(name)?;
            }
        }
        if let Some(path) = &asked.out {
            report.write(path)?;
        }
    }
    table::print(&report.lines().collect::<Vec<_>>());
    Ok(())
}
