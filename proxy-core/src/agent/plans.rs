//! Plans: the rules for pods. Most pods want the same, and a plan is as large as all else that is known of a pod.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use redirect::{Intent, Plan};

/// One plan for all pods that want the same, for as long as there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Plans(Arc<Mutex<Vec<Shared>>>);

/// What some pods want, and the rules for it.
type Shared = (Intent, Weak<Plan>);

impl Plans {
    pub(super) fn of(&self, intent: &Intent) -> Arc<Plan> {
        // Each change of it is whole.
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|(_, plan)| plan.strong_count() > 0);
        let known = plans.iter().find(|(known, _)| known == intent).and_then(|(_, plan)| plan.upgrade());
        known.unwrap_or_else(|| {
            let plan = Arc::new(Plan::new(intent));
            plans.push((intent.clone(), Arc::downgrade(&plan)));
            plan
        })
    }
}

#[cfg(test)]
mod tests {
    use redirect::Guard;

    use super::*;

    #[test]
    fn who_wants_the_same_has_the_same_and_nothing_is_kept_for_nobody() {
        let plans = Plans::default();
        let (one, other) = (Intent::ambient(), Intent::ambient().with_guard(Guard::Off));
        let first = plans.of(&one);
        assert!(Arc::ptr_eq(&first, &plans.of(&one)));
        assert_eq!(*first, Plan::new(&one));
        assert_eq!(*plans.of(&other), Plan::new(&other));
        drop(first);
        plans.of(&other);
        assert_eq!(plans.0.lock().unwrap().len(), 1);
    }
}
