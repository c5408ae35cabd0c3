//! Buckets: a table each, keyed by namespace and key, with records of one type.

use std::marker::PhantomData;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

use crate::{StoreError, database::META};

type Definition = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;

/// Sorts after every key that a namespace can have.
const LAST_KEY: &str = "\u{10FFFF}\u{10FFFF}";

/// A kind of record: the table's name and the record's type.
pub struct Bucket<T> {
    name: &'static str,
    record: PhantomData<fn() -> T>,
}

impl<T> Bucket<T> {
    /// The bucket of this name. Two record types must not share a name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            record: PhantomData,
        }
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn table(&self) -> Definition {
        TableDefinition::new(self.name)
    }
}

/// Reading, the same inside a read and a write transaction.
pub trait Records {
    /// The record under `key`, where there is one.
    fn get<T: DeserializeOwned>(&self, bucket: &Bucket<T>, namespace: &str, key: &str)
    -> Result<Option<T>, StoreError>;

    /// All records of a namespace, sorted by key.
    fn list<T: DeserializeOwned>(&self, bucket: &Bucket<T>, namespace: &str) -> Result<Vec<(String, T)>, StoreError>;

    /// All records of all namespaces: namespace, key, record.
    fn list_all<T: DeserializeOwned>(&self, bucket: &Bucket<T>) -> Result<Vec<(String, String, T)>, StoreError>;
}

/// One consistent view of the store.
pub struct Reader {
    transaction: ReadTransaction,
}

impl Reader {
    pub(crate) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction }
    }
}

/// A write transaction: sees its own writes, and nobody else does until it ends well.
pub struct Writer {
    transaction: WriteTransaction,
}

impl Writer {
    pub(crate) fn new(transaction: WriteTransaction) -> Self {
        Self { transaction }
    }

    pub(crate) fn into_inner(self) -> WriteTransaction {
        self.transaction
    }

    /// Stores a record, over an earlier one with this key, and makes the namespace exist.
    pub fn put<T: Serialize>(
        &self,
        bucket: &Bucket<T>,
        namespace: &str,
        key: &str,
        record: &T,
    ) -> Result<(), StoreError> {
        self.put_unchecked(bucket, namespace, key, record)?;
        self.ensure_namespace(namespace)
    }

    /// Stores a record without making its namespace exist.
    pub(crate) fn put_unchecked<T: Serialize>(
        &self,
        bucket: &Bucket<T>,
        namespace: &str,
        key: &str,
        record: &T,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).map_err(|source| StoreError::Encode {
            bucket: bucket.name,
            source,
        })?;
        let mut table = self.transaction.open_table(bucket.table()).map_err(redb_error)?;
        table.insert((namespace, key), bytes.as_slice()).map_err(redb_error)?;
        Ok(())
    }

    /// Removes a record; `false` where there was none.
    pub fn delete<T>(&self, bucket: &Bucket<T>, namespace: &str, key: &str) -> Result<bool, StoreError> {
        let mut table = self.transaction.open_table(bucket.table()).map_err(redb_error)?;
        let removed = table.remove((namespace, key)).map_err(redb_error)?;
        Ok(removed.is_some())
    }

    /// The number under `name`, 0 where it was never set.
    pub fn number(&self, name: &str) -> Result<u64, StoreError> {
        let table = self.transaction.open_table(META).map_err(redb_error)?;
        let value = table.get(name).map_err(redb_error)?;
        Ok(value.map_or(0, |value| value.value()))
    }

    /// Sets the number under `name`.
    pub fn set_number(&self, name: &str, value: u64) -> Result<(), StoreError> {
        let mut table = self.transaction.open_table(META).map_err(redb_error)?;
        table.insert(name, value).map_err(redb_error)?;
        Ok(())
    }

    /// Counts `name` up and returns the new number.
    pub fn next_number(&self, name: &str) -> Result<u64, StoreError> {
        let next = self.number(name)? + 1;
        self.set_number(name, next)?;
        Ok(next)
    }
}

impl Records for Reader {
    fn get<T: DeserializeOwned>(
        &self,
        bucket: &Bucket<T>,
        namespace: &str,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        match self.transaction.open_table(bucket.table()) {
            Ok(table) => get(&table, bucket, namespace, key),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(redb_error(e)),
        }
    }

    fn list<T: DeserializeOwned>(&self, bucket: &Bucket<T>, namespace: &str) -> Result<Vec<(String, T)>, StoreError> {
        match self.transaction.open_table(bucket.table()) {
            Ok(table) => list(&table, bucket, namespace),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(e) => Err(redb_error(e)),
        }
    }

    fn list_all<T: DeserializeOwned>(&self, bucket: &Bucket<T>) -> Result<Vec<(String, String, T)>, StoreError> {
        match self.transaction.open_table(bucket.table()) {
            Ok(table) => list_all(&table, bucket),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(e) => Err(redb_error(e)),
        }
    }
}

impl Records for Writer {
    fn get<T: DeserializeOwned>(
        &self,
        bucket: &Bucket<T>,
        namespace: &str,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let table = self.transaction.open_table(bucket.table()).map_err(redb_error)?;
        get(&table, bucket, namespace, key)
    }

    fn list<T: DeserializeOwned>(&self, bucket: &Bucket<T>, namespace: &str) -> Result<Vec<(String, T)>, StoreError> {
        let table = self.transaction.open_table(bucket.table()).map_err(redb_error)?;
        list(&table, bucket, namespace)
    }

    fn list_all<T: DeserializeOwned>(&self, bucket: &Bucket<T>) -> Result<Vec<(String, String, T)>, StoreError> {
        let table = self.transaction.open_table(bucket.table()).map_err(redb_error)?;
        list_all(&table, bucket)
    }
}

fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    bucket: &Bucket<T>,
    namespace: &str,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let value = table.get((namespace, key)).map_err(redb_error)?;
    value
        .map(|value| decode(bucket, namespace, key, value.value()))
        .transpose()
}

fn list<T: DeserializeOwned>(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    bucket: &Bucket<T>,
    namespace: &str,
) -> Result<Vec<(String, T)>, StoreError> {
    let mut records = Vec::new();
    for entry in table
        .range((namespace, "")..=(namespace, LAST_KEY))
        .map_err(redb_error)?
    {
        let (key, value) = entry.map_err(redb_error)?;
        let (_, key) = key.value();
        records.push((key.to_owned(), decode(bucket, namespace, key, value.value())?));
    }
    Ok(records)
}

fn list_all<T: DeserializeOwned>(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    bucket: &Bucket<T>,
) -> Result<Vec<(String, String, T)>, StoreError> {
    let mut records = Vec::new();
    for entry in table.iter().map_err(redb_error)? {
        let (key, value) = entry.map_err(redb_error)?;
        let (namespace, key) = key.value();
        let record = decode(bucket, namespace, key, value.value())?;
        records.push((namespace.to_owned(), key.to_owned(), record));
    }
    Ok(records)
}

fn decode<T: DeserializeOwned>(bucket: &Bucket<T>, namespace: &str, key: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Damaged {
        bucket: bucket.name,
        namespace: namespace.into(),
        key: key.into(),
        source,
    })
}

fn redb_error(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Redb(error.into())
}
