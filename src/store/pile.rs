//! The waiting commands of one kind, behind a trait that knows no type, with what became of each.

use std::{
    any::{Any, TypeId},
    ops::Range,
};

use futures_util::future::BoxFuture;

use super::{Metrics, StoreError, backend::Backend, writer::Command};

/// Called once after the commit, or after the last attempt.
pub(in crate::store) type Finish<C, B> =
    Box<dyn FnOnce(C, Result<<C as Command<B>>::Answer, StoreError>) + Send>;

/// Waiting commands of one kind.
pub(super) trait Pile<B: Backend>: Send {
    /// The type of the commands.
    fn kind(&self) -> TypeId;
    /// How many.
    fn len(&self) -> usize;
    /// Adds a `(C, Finish<C, B>)`.
    fn push(&mut self, command: Box<dyn Any + Send>);
    /// Carries out these commands and keeps their answers, which count only once they are committed.
    fn apply<'c>(
        &'c mut self,
        range: Range<usize>,
        connection: &'c mut B::Connection,
    ) -> BoxFuture<'c, Result<(), StoreError>>;
    /// Notes that the command at the place failed.
    fn fail(&mut self, place: usize, error: StoreError);
    /// Tells everyone what became of their command.
    fn finish(&mut self, metrics: &Metrics);
}

pub(super) struct PileOf<C: Command<B>, B: Backend> {
    commands: Vec<C>,
    finishes: Vec<Finish<C, B>>,
    outcomes: Vec<Option<Result<C::Answer, StoreError>>>,
}

impl<C: Command<B>, B: Backend> Default for PileOf<C, B> {
    fn default() -> Self {
        Self { commands: Vec::new(), finishes: Vec::new(), outcomes: Vec::new() }
    }
}

impl<C: Command<B>, B: Backend> Pile<B> for PileOf<C, B> {
    fn kind(&self) -> TypeId {
        TypeId::of::<C>()
    }

    fn len(&self) -> usize {
        self.commands.len()
    }

    fn push(&mut self, command: Box<dyn Any + Send>) {
        // the writer sorts by type, so this never misses
        let Ok(pair) = command.downcast::<(C, Finish<C, B>)>() else { return };
        let (command, finish) = *pair;
        self.commands.push(command);
        self.finishes.push(finish);
        self.outcomes.push(None);
    }

    fn apply<'c>(
        &'c mut self,
        range: Range<usize>,
        connection: &'c mut B::Connection,
    ) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            let start = range.start;
            let answers = C::apply(&mut self.commands[range.clone()], connection).await?;
            debug_assert_eq!(answers.len(), range.len(), "one answer for each command");
            for (offset, answer) in answers.into_iter().enumerate() {
                self.outcomes[start + offset] = Some(Ok(answer));
            }
            Ok(())
        })
    }

    fn fail(&mut self, place: usize, error: StoreError) {
        self.outcomes[place] = Some(Err(error));
    }

    fn finish(&mut self, metrics: &Metrics) {
        let (commands, failures) = (&metrics.commands, &metrics.failures);
        let finishes = std::mem::take(&mut self.finishes).into_iter();
        let outcomes = std::mem::take(&mut self.outcomes).into_iter();
        for ((command, finish), outcome) in
            std::mem::take(&mut self.commands).into_iter().zip(finishes).zip(outcomes)
        {
            let outcome = outcome.unwrap_or(Err(StoreError::Panicked));
            let counter = if outcome.is_ok() { commands } else { failures };
            counter.with_label_values(&[C::KIND]).inc();
            finish(command, outcome);
        }
    }
}
