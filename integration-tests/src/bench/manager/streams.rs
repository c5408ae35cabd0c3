//! How much output a second goes through a shim: bytes into a client's FIFO, and lines into a log file.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use davit_integration_tests::{Run, Scratch, wait};

use super::Side;

const MB: usize = 1_000_000;
/// What goes through the FIFO.
const BYTES: usize = 1024 << 20;
/// With its line feed, as a usual line of a log has it.
const LINE: &[u8; 64] = b"2026-01-01T00:00:00Z INFO a line of a log that has 64 bytes....\n";
/// Of lines, in all.
const TEXT: usize = 128 * MB;

/// Measures both; the log driver is in our shim alone.
pub fn measure(sides: &[Side], scratch: &Scratch) -> Result<()> {
    println!("\noutput through a FIFO, {} MB", BYTES / MB);
    for side in sides {
        let rate = fifo(side, scratch)?;
        println!("  {:<28}{rate:>9.0} MB/s", side.name);
    }
    println!("\nlines of 64 bytes into a json-file, {} MB", TEXT / MB);
    println!("  {:<28}{:>9.0} MB/s", sides[0].name, json_file(&sides[0], scratch)?);
    Ok(())
}

/// From the first byte to the last.
fn fifo(side: &Side, scratch: &Scratch) -> Result<f64> {
    let folder = scratch.join(&format!("fifo-{}", side.name));
    let count = BYTES >> 16;
    // Not before the FIFO has its reader.
    let script = format!("sleep 1; exec dd if=/dev/zero bs=64k count={count} 2>/dev/null");
    let options = ["--detach", "--fifo-dir", folder.to_str().context("an ASCII path")?];
    side.run(&options, "fifo", &["sh", "-c", &script]).finish().ok();
    let mut output = File::open(output_below(&folder, &side.id("fifo"))?)?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = BYTES - output.read(&mut buffer)?;
    let begin = Instant::now();
    while left > 0 {
        match output.read(&mut buffer)? {
            0 => bail!("{}: the output ended {left} bytes early", side.name),
            read => left -= read,
        }
    }
    let took = begin.elapsed();
    side.remove("fifo");
    Ok((BYTES / MB) as f64 / took.as_secs_f64())
}

/// `ctr` makes a folder with a name of its own for the streams of a container.
fn output_below(folder: &Path, id: &str) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)?.next().context("the folder of the streams")??;
    Ok(entry.path().join(format!("{id}-stdout")))
}

/// With the start of the container, until the last line is in the file.
fn json_file(side: &Side, scratch: &Scratch) -> Result<f64> {
    let (text, log, attach) = (scratch.join("text"), scratch.join("log.json"), scratch.join("a.sock"));
    let mut file = File::create(&text)?;
    let many = LINE.repeat(1 << 14);
    let times = TEXT / many.len();
    (0..times).try_for_each(|_| file.write_all(&many))?;
    let uri = format!("json-file://{}?attach={}", log.display(), attach.display());
    let mount = format!("type=bind,src={},dst=/text,options=rbind:ro", text.display());
    let options = ["--detach", "--log-uri", &uri, "--mount", &mount];
    let begin = Instant::now();
    side.run(&options, "log", &["cat", "/text"]).finish().ok();
    let whole = (times << 14) * record_length();
    wait::until_true("the last line is in the log", 120, || {
        fs::metadata(&log).is_ok_and(|log| log.len() >= whole as u64)
    });
    let took = begin.elapsed();
    side.remove("log");
    [text, log].iter().try_for_each(fs::remove_file)?;
    Ok((times * many.len() / MB) as f64 / took.as_secs_f64())
}

/// How long a line is in the log, at the least: the time may have fewer digits.
fn record_length() -> usize {
    let shortest = r#"{"log":"\n","stream":"stdout","time":"2026-01-01T00:00:00.1Z"}"#;
    shortest.len() + 1 + LINE.len() - 1
}
