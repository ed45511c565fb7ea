//! The candidates, opened as they come: defaults, but every commit synced.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::engine::{Engine, Row};
use crate::log::Log;
use crate::own::Own;

/// A store to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Candidate {
    /// sled 0.34: `apply_batch` (or `insert`), then `flush`.
    Sled,
    /// redb 4: one write transaction, `Durability::Immediate`.
    Redb,
    /// fjall 3: one batch, `PersistMode::SyncData`.
    Fjall,
    /// The sketch of an own group-commit log.
    Log,
    /// The room `drive`.
    Drive,
}

impl Candidate {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Log => "log",
            Self::Drive => "drive",
        }
    }

    /// Opens or makes a store in a directory.
    pub fn open(self, directory: &Path) -> Result<Arc<dyn Engine>> {
        Ok(match self {
            Self::Sled => Arc::new(Sled(sled::open(directory)?)),
            Self::Redb => {
                std::fs::create_dir_all(directory)?;
                Arc::new(Redb(redb::Database::create(directory.join("redb"))?))
            }
            Self::Fjall => {
                let database = Database::builder(directory).open()?;
                let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
                Arc::new(Fjall { database, rows })
            }
            Self::Log => Arc::new(Log::open(directory)?),
            Self::Drive => Arc::new(Own::open(directory)?),
        })
    }
}

struct Sled(sled::Db);

impl Engine for Sled {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        if let [(key, value)] = rows {
            self.0.insert(key, value.as_slice())?;
        } else {
            let mut batch = sled::Batch::default();
            for (key, value) in rows {
                batch.insert(key.as_slice(), value.as_slice());
            }
            self.0.apply_batch(batch)?;
        }
        self.0.flush()?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.0.iter() {
            let (key, value) = row?;
            visit(&key, &value);
        }
        Ok(())
    }
}

struct Redb(redb::Database);

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

impl Engine for Redb {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(ROWS)?;
            for (key, value) in rows {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let table = self.0.begin_read()?.open_table(ROWS)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let table = match self.0.begin_read()?.open_table(ROWS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            table => table?,
        };
        for row in table.iter()? {
            let (key, value) = row?;
            visit(key.value(), value.value());
        }
        Ok(())
    }
}

struct Fjall {
    database: Database,
    rows: Keyspace,
}

impl Engine for Fjall {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for (key, value) in rows {
            batch.insert(&self.rows, key.as_slice(), value.as_slice());
        }
        batch.commit()?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.rows.get(key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.rows.iter() {
            let (key, value) = row.into_inner()?;
            visit(&key, &value);
        }
        Ok(())
    }
}
