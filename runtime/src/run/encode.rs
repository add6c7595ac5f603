//! Prompts to hidden states.

use super::component::Tensors;
use super::generate::{Run, Text};
use super::{Component, RunError};
use crate::sampling::Row;
use crate::tensor::Tensor;
use crate::text::TextTokenizer;

impl Run<'_> {
    /// Encodes the prompt of every row the guidance needs, in the order of the batch.
    ///
    /// The reference always encodes the negative prompt; where guidance is off nothing uses it, so it is left out.
    pub(super) fn encode_text(&mut self, component: &Component) -> Result<Text, RunError> {
        let tokenizer = self.tokenizer()?;
        let (rows, tokens) = (self.job.rows(), self.job.max_tokens);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for row in &rows {
            let prompt = match row {
                Row::Negative => &self.job.negative_prompt,
                Row::Positive | Row::Perturbed => &self.job.prompt,
            };
            let encoded = tokenizer.encode(prompt, tokens)?;
            ids.extend(encoded.0);
            mask.extend(encoded.1);
        }
        let shape = [rows.len(), tokens];
        let mask = Tensor::new(shape, mask)?;
        let inputs = Tensors::from([
            ("ids".to_owned(), Tensor::new(shape, ids)?),
            ("mask".to_owned(), mask.clone()),
        ]);
        let expected = [Some(rows.len()), Some(tokens), None];
        let hidden = component.run_for(inputs, "hidden", &expected)?;
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
