//! Files: one JSON object per line, appended and synced batch by batch.
//!
//! A crash in the middle of a line leaves a torn one; it is cut off before the next is written. A
//! batch whose outcome was not known is written again with the same ids (at least once). Files of
//! columns are in `parquet/`.

mod parquet;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::Mutex;

pub use parquet::{Column, ColumnKind, Parquet, ParquetOptions};

use crate::envelope::{Format, render};
use crate::target::{Delivery, Fault, Target};

/// How much is read at a time when looking for the end of the last whole line.
const STEP: u64 = 64 * 1024;

pub struct JsonLines {
    path: PathBuf,
    format: Format,
    file: Mutex<Option<File>>,
}

impl JsonLines {
    pub fn new(path: PathBuf, format: Format) -> Self {
        JsonLines { path, format, file: Mutex::new(None) }
    }
}

/// Opens for appending after the last whole line.
async fn open(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path).await?;
    let length = file.metadata().await?.len();
    let whole = whole_lines(&mut file, length).await?;
    if whole < length {
        file.set_len(whole).await?;
    }
    file.seek(std::io::SeekFrom::End(0)).await?;
    Ok(file)
}

async fn whole_lines(file: &mut File, length: u64) -> std::io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut part = vec![0; (end - start) as usize];
        file.seek(std::io::SeekFrom::Start(start)).await?;
        file.read_exact(&mut part).await?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl JsonLines {
    fn fault(&self, error: &std::io::Error) -> Fault {
        Fault::unreachable(format!("{}: {error}", self.path.display()))
    }
}

#[async_trait]
impl Target for JsonLines {
    async fn check(&self) -> Result<(), Fault> {
        open(&self.path).await.map(|_| ()).map_err(|error| self.fault(&error))
    }

    fn parallelism_max(&self) -> usize {
        1
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let mut lines = String::new();
        for event in &delivery.events {
            lines.push_str(&render(event, self.format));
            lines.push('\n');
        }
        let mut held = self.file.lock().await;
        let mut file = match held.take() {
            Some(file) => file,
            None => open(&self.path).await.map_err(|error| self.fault(&error))?,
        };
        // Put back only when all went well: after an error the file is opened, and mended, again.
        let written = async {
            file.write_all(lines.as_bytes()).await?;
            file.flush().await?;
            file.sync_data().await
        };
        written.await.map_err(|error| self.fault(&error))?;
        *held = Some(file);
        Ok(())
    }
}
