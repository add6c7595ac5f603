//! Prompts to hidden states.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ltxc_bundle::EncodeText;

use super::component::Tensors;
use super::generate::Run;
use super::passes::PassJob;
use super::{Component, RunError};
use crate::tensor::Tensor;
use crate::text::TextTokenizer;

/// Hidden states of a prompt, (L, D), and the mask of its tokens, (L).
pub(super) struct Text {
    pub hidden: Vec<f32>,
    pub mask: Vec<i64>,
}

impl Run<'_, '_> {
    /// Encodes every prompt once.
    ///
    /// The reference always encodes the negative prompt; where guidance is off nothing uses it, so it is left out.
    pub(super) fn encode_text(&mut self, stage: &str, op: &EncodeText) -> Result<(), RunError> {
        if self.all_kept() {
            return Ok(());
        }
        let component = self.load(stage, &op.component)?;
        let tokenizer = self.tokenizer()?;
        let mut texts = BTreeMap::new();
        if self.job.passes.iter().any(PassJob::uses_negative) {
            let text = self.text(&tokenizer, &component, &self.job.negative_prompt)?;
            texts.insert(self.job.negative_prompt.clone(), Arc::new(text));
        }
        let prompts = self.takes.iter();
        for prompt in prompts.flat_map(|take| self.job.told(&take.prompt)) {
            if let Entry::Vacant(entry) = texts.entry(prompt) {
                let text = self.text(&tokenizer, &component, entry.key())?;
                entry.insert(Arc::new(text));
            }
        }
        self.texts.insert(stage.to_owned(), texts);
        Ok(())
    }

    fn text(
        &self,
        tokenizer: &TextTokenizer,
        component: &Component,
        prompt: &str,
    ) -> Result<Text, RunError> {
        let tokens = self.job.max_tokens;
        let (ids, mask) = tokenizer.encode(prompt, tokens)?;
        let inputs = Tensors::from([
            ("ids".to_owned(), Tensor::new([1, tokens], ids)?),
            ("mask".to_owned(), Tensor::new([1, tokens], mask.clone())?),
        ]);
        let hidden = component.run_for(inputs, "hidden", &[Some(1), Some(tokens), None])?;
        let hidden = hidden.values::<f32>()?.to_vec();
        Ok(Text { hidden, mask })
    }

    fn tokenizer(&self) -> Result<TextTokenizer, RunError> {
        let bundle = &self.runner.bundle;
        let name = bundle.manifest.tokenizer.as_deref();
        let name = name.ok_or_else(|| RunError::Manifest("there is no tokenizer".to_owned()))?;
        let path = bundle.path(name);
        let json =
            std::fs::read_to_string(&path).map_err(|reason| RunError::File { path, reason })?;
        Ok(TextTokenizer::from_json(&json)?)
    }
}
