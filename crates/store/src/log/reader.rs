//! An iterator over committed, durable entries.

use base::ClusterTime;

use crate::entry::{LogEntry, LogPosition, Operation, PreImage};
use crate::error::{Error, Result};
use crate::kv::{Direction, KeyRange, Kv, KvIter, Space};
use crate::log_codec::{RecordReader, record_key};

/// Entries in log order. Holds a view of the store: read what you need and drop it.
pub struct LogReader {
    records: KvIter,
    reader: RecordReader,
    /// First position to give out.
    from: LogPosition,
    up_to: ClusterTime,
    /// Images of entries older than this, in milliseconds, are no longer for clients.
    images_from_ms: i64,
    failed: Option<Error>,
    done: bool,
}

impl LogReader {
    /// `removed` is the last position that is no longer there.
    pub(crate) fn open(
        kv: &dyn Kv,
        (removed, from): (LogPosition, LogPosition),
        up_to: ClusterTime,
        images_from_ms: i64,
    ) -> Result<Self> {
        let from_key = record_key(from);
        // The entry may stand inside the record that begins before it. Records are removed whole, so
        // none of interest begins at or before `removed`, where a search would wade through what
        // was removed.
        let before = KeyRange { from: record_key(removed).to_vec(), to: Some([&from_key[..], &[0]].concat()) };
        let start = kv.range(Space::Log, before, Direction::Backward).next().transpose()?;
        let start = start.map_or(from_key.to_vec(), |(key, _)| key.to_vec());
        let records = kv.range(Space::Log, KeyRange { from: start, to: None }, Direction::Forward);
        let reader = RecordReader::default();
        Ok(LogReader { records, reader, from, up_to, images_from_ms, failed: None, done: false })
    }

    pub(crate) fn failed(error: Error) -> Self {
        LogReader {
            records: Box::new(std::iter::empty()),
            reader: RecordReader::default(),
            from: LogPosition::default(),
            up_to: ClusterTime::ZERO,
            images_from_ms: i64::MIN,
            failed: Some(error),
            done: false,
        }
    }

    /// How many entries there are from here on. They are passed over, not decoded.
    pub fn count_entries(mut self) -> Result<u64> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut found = 0;
        loop {
            match self.reader.peek()? {
                Some(position) if position.time > self.up_to => return Ok(found),
                Some(position) => {
                    found += u64::from(position >= self.from);
                    self.reader.skip()?;
                }
                None => match self.records.next().transpose()? {
                    Some((_, record)) => self.reader.refill(record),
                    None => return Ok(found),
                },
            }
        }
    }

    fn step(&mut self) -> Result<Option<LogEntry>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        loop {
            match self.reader.peek()? {
                Some(position) if position.time > self.up_to => return Ok(None),
                Some(position) if position < self.from => self.reader.skip()?,
                Some(_) => return self.reader.next().map(|entry| entry.map(|entry| self.expire(entry))),
                None => match self.records.next().transpose()? {
                    Some((_, record)) => self.reader.refill(record),
                    None => return Ok(None),
                },
            }
        }
    }

    fn expire(&self, mut entry: LogEntry) -> LogEntry {
        if entry.wall_ms >= self.images_from_ms {
            return entry;
        }
        if let Operation::Update { before, .. } | Operation::Replace { before, .. } | Operation::Delete { before, .. } =
            &mut entry.operation
        {
            *before = before.take().map(|image| PreImage { by_option: false, ..image });
        }
        entry
    }
}

impl Iterator for LogReader {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}
