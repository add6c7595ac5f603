//! The parts that a component is compiled in.

use ltxc_bundle::Settings;
use ltxc_ir::Graph;
use ltxc_passes::transforms::hoist::{hoist, whole};
use ltxc_passes::transforms::reuse::reuse_steps;
use ltxc_passes::transforms::split::Part;

use crate::compile::Project;
use crate::failure::{Failure, Outcome};

impl Project {
    /// The parts of a component, as the transforms leave them.
    pub fn parts(&self, graph: Graph) -> Outcome<Vec<Part>> {
        match self.hoist {
            _ if self.caches_steps() && graph.reuse.is_some() => self.cut_steps(graph),
            true => hoist(graph).map_err(|e| Failure::Bug(e.to_string())),
            false => Ok(vec![whole(graph)]),
        }
    }

    /// Whether some pass may use the work of an earlier step again.
    fn caches_steps(&self) -> bool {
        let whole = &self.defaults;
        let passes = [&whole.first_pass, &whole.second_pass];
        let of_pass = |pass: &&Option<Box<Settings>>| {
            pass.as_ref().is_some_and(|pass| pass.step_cache.is_some())
        };
        whole.step_cache.is_some() || passes.iter().any(of_pass)
    }

    fn cut_steps(&self, graph: Graph) -> Outcome<Vec<Part>> {
        if !self.hoist {
            let why =
                "step_cache needs what is kept for a video: leave out hoist: false and --no-hoist";
            return Err(Failure::Misuse(why.to_owned()));
        }
        reuse_steps(graph).map_err(|e| Failure::Input(e.into()))
    }
}
