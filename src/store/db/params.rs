//! The parameters of a statement, by position.

use super::statement::Binding;
use super::{Result, ToSql};

/// Values for the parameters of a statement: a tuple, an array, or [`params_from_iter`].
pub(in crate::store) trait Params {
    /// Adds each value, in order.
    fn bind(self, to: &mut Binding<'_, '_>) -> Result<()>;
}

impl Params for () {
    fn bind(self, _: &mut Binding<'_, '_>) -> Result<()> {
        Ok(())
    }
}

impl Params for [&dyn ToSql; 0] {
    fn bind(self, _: &mut Binding<'_, '_>) -> Result<()> {
        Ok(())
    }
}

/// The lengths one by one: for any length, `[]` would not say which type it has none of.
macro_rules! arrays {
    ($($length:literal)+) => { $(
        impl<T: ToSql> Params for [T; $length] {
            fn bind(self, to: &mut Binding<'_, '_>) -> Result<()> {
                self.iter().try_for_each(|value| to.add(value))
            }
        }
    )+ };
}

arrays! { 1 2 3 4 }

macro_rules! tuples {
    ($(($($kind:ident $value:ident)+))+) => { $(
        impl<$($kind: ToSql),+> Params for ($($kind,)+) {
            fn bind(self, to: &mut Binding<'_, '_>) -> Result<()> {
                let ($($value,)+) = self;
                $(to.add(&$value)?;)+
                Ok(())
            }
        }
    )+ };
}

tuples! {
    (A a)
    (A a B b)
    (A a B b C c)
    (A a B b C c D d)
    (A a B b C c D d E e)
    (A a B b C c D d E e F f)
    (A a B b C c D d E e F f G g)
    (A a B b C c D d E e F f G g H h)
    (A a B b C c D d E e F f G g H h I i)
    (A a B b C c D d E e F f G g H h I i J j)
    (A a B b C c D d E e F f G g H h I i J j K k)
    (A a B b C c D d E e F f G g H h I i J j K k L l)
    (A a B b C c D d E e F f G g H h I i J j K k L l M m)
    (A a B b C c D d E e F f G g H h I i J j K k L l M m N n)
    (A a B b C c D d E e F f G g H h I i J j K k L l M m N n O o)
    (A a B b C c D d E e F f G g H h I i J j K k L l M m N n O o P p)
    (A a B b C c D d E e F f G g H h I i J j K k L l M m N n O o P p Q q R r)
}

/// Values of one type, as many as the statement has parameters.
pub(in crate::store) fn params_from_iter<I>(values: I) -> ParamsFromIter<I>
where
    I: IntoIterator,
    I::Item: ToSql,
{
    ParamsFromIter(values)
}

pub(in crate::store) struct ParamsFromIter<I>(I);

impl<I> Params for ParamsFromIter<I>
where
    I: IntoIterator,
    I::Item: ToSql,
{
    fn bind(self, to: &mut Binding<'_, '_>) -> Result<()> {
        self.0.into_iter().try_for_each(|value| to.add(&value))
    }
}
