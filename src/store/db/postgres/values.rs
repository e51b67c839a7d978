//! Values to PostgreSQL and back: whole numbers, texts, bytes and null are all that the store has.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::store::db::{Value, ValueRef};

/// A value on its way to the server.
#[derive(Debug)]
pub(in crate::store) struct Sent(pub Value);

impl Sent {
    /// The type of a parameter that gets this value. A null does not say.
    pub fn declared_type(&self) -> Type {
        match &self.0 {
            Value::Null => Type::UNKNOWN,
            Value::Integer(_) => Type::INT8,
            Value::Real(_) => Type::FLOAT8,
            Value::Text(_) => Type::TEXT,
            Value::Blob(_) => Type::BYTEA,
        }
    }

    pub fn fits(&self, declared: &Type) -> bool {
        matches!(self.0, Value::Null) || self.declared_type() == *declared
    }
}

impl ToSql for Sent {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) => number.to_sql(kind, out),
            Value::Real(number) => number.to_sql(kind, out),
            // PostgreSQL has no texts with NUL characters. They say nothing in names and messages, where alone they can be.
            Value::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(kind, out),
            Value::Text(text) => text.to_sql(kind, out),
            Value::Blob(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of a row.
pub(in crate::store) struct Received<'a>(pub ValueRef<'a>);

impl<'a> FromSql<'a> for Received<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::BOOL => ValueRef::Integer(i64::from(bool::from_sql(kind, raw)?)),
            Type::INT2 => ValueRef::Integer(i64::from(i16::from_sql(kind, raw)?)),
            Type::INT4 => ValueRef::Integer(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT8 => ValueRef::Integer(i64::from_sql(kind, raw)?),
            Type::FLOAT8 => ValueRef::Real(f64::from_sql(kind, raw)?),
            Type::NUMERIC => ValueRef::Integer(whole_number(raw).ok_or("a number that is not whole")?),
            Type::BYTEA => ValueRef::Blob(raw),
            _ => ValueRef::Text(raw),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A `numeric`, which the sum of whole numbers is: how many digits to base 10,000, the power of the first one, the sign, the
/// digits after the point, and the digits.
fn whole_number(raw: &[u8]) -> Option<i64> {
    let word = |place: usize| Some(u16::from_be_bytes(raw.get(2 * place..2 * place + 2)?.try_into().ok()?));
    let (digits, weight, sign) = (word(0)?, word(1)?.cast_signed(), word(2)?);
    let mut number: i64 = 0;
    for place in 0..i32::from(weight) + 1 {
        let digit = if place < i32::from(digits) { word(4 + usize::try_from(place).ok()?)? } else { 0 };
        number = number.checked_mul(10_000)?.checked_add(i64::from(digit))?;
    }
    let is_whole = i32::from(digits) <= i32::from(weight) + 1;
    match sign {
        0 if is_whole => Some(number),
        0x4000 if is_whole => number.checked_neg(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_is_read_as_a_whole_number() {
        let raw = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
        for (words, expected) in [
            (&[0, 0, 0, 0][..], Some(0)),
            (&[1, 0, 0, 0, 7], Some(7)),
            (&[1, 1, 0, 0, 7], Some(70_000)),
            (&[2, 1, 0x4000, 0, 1, 2345], Some(-12_345)),
            (&[1, u16::MAX, 0, 4, 5000], None),
            (&[1, 4, 0, 0, 9999], None),
            (&[0, 0, 0xC000, 0], None),
        ] {
            assert_eq!(whole_number(&raw(words)), expected, "{words:?}");
        }
    }
}
