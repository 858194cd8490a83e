//! Solves rules as libsolv does: what must be is propagated, the rest decided in the order of the rules, a conflict becomes a
//! rule of its own, and at the end choices are looked at once more.

use super::normal::{Form, Normal, normalize};
use super::policy;
use super::pool::{Dep, DepId, Lit, Pool};
use super::rules::{Rule, RuleId, Rules, Why};
use crate::package::Word;

/// Decisions before a question is given up; a whole desktop takes some thousands.
const DECISIONS_MAX: u32 = 1_000_000;

/// Why there is no solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSolution {
    /// There is none; holds the rules that together cannot hold, none of them learnt.
    Unsolvable(Vec<RuleId>),
    /// The question was too hard.
    TooHard,
}

/// A level of decisions, or why there cannot be one.
type Level = Result<i32, NoSolution>;

/// A choice among several that was made.
struct Branch {
    level: i32,
    /// What there was to choose from; what was tried is negative.
    choices: Vec<Lit>,
}

/// Links of the two chains of watches that a rule is in.
#[derive(Clone, Copy, Default)]
struct Watch {
    lits: [Lit; 2],
    next: [usize; 2],
}

/// The solver.
pub struct Solver<'p, 'c> {
    pool: &'p Pool<'c>,
    rules: Vec<Rule>,
    jobs: std::ops::Range<RuleId>,
    watches: Vec<Watch>,
    /// By literal, shifted so that negative ones have a place: the first rule that watches it.
    heads: Vec<usize>,
    assertions: Vec<RuleId>,
    /// By package: the level of having it, negative of not having it, zero if undecided.
    decided: Vec<i32>,
    queue: Vec<Lit>,
    /// By place in the queue: the rule that left no choice, or the one that a free decision was for, negative.
    because: Vec<i64>,
    propagated: usize,
    branches: Vec<Branch>,
    /// By learnt rule: the rules that it follows from.
    learnt_from: Vec<Vec<RuleId>>,
    learnt_start: RuleId,
    recommended: Vec<bool>,
    suggested: Vec<bool>,
    /// How often something was decided or taken back, now and when weak dependencies were last looked at.
    revision: u64,
    weak_revision: u64,
    colors: bool,
    decisions: u32,
}

impl<'p, 'c> Solver<'p, 'c> {
    /// Makes one for some rules.
    ///
    /// With `colors`, packages of different word sizes are not in each other's way.
    pub fn new(pool: &'p Pool<'c>, rules: Rules, colors: bool) -> Self {
        let Rules { all, jobs, jobs_end } = rules;
        let size = pool.size();
        let mut solver = Self {
            pool,
            learnt_start: all.len(),
            rules: all,
            jobs: jobs..jobs_end,
            watches: Vec::new(),
            heads: vec![0; 2 * size],
            assertions: Vec::new(),
            decided: vec![0; size],
            queue: Vec::new(),
            because: Vec::new(),
            propagated: 0,
            branches: Vec::new(),
            learnt_from: Vec::new(),
            recommended: vec![false; size],
            suggested: vec![false; size],
            revision: 1,
            weak_revision: 0,
            colors,
            decisions: 0,
        };
        solver.watches = solver.rules.iter().map(watch_of).collect();
        for rule in (1..solver.rules.len()).rev() {
            if solver.rules[rule].is_assertion() {
                solver.assertions.push(rule);
            } else {
                solver.link(rule);
            }
        }
        solver.assertions.reverse();
        solver
    }

    /// Returns the rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Tells the packages of the solution, in the order in which they were decided.
    pub fn chosen(&self) -> impl Iterator<Item = Lit> + '_ {
        self.queue.iter().copied().filter(|lit| *lit > 0)
    }

    fn head(&self, lit: Lit) -> usize {
        (lit + self.decided.len() as Lit) as usize
    }

    fn link(&mut self, rule: RuleId) {
        for side in 0..2 {
            let head = self.head(self.watches[rule].lits[side]);
            self.watches[rule].next[side] = self.heads[head];
            self.heads[head] = rule;
        }
    }

    fn is_true(&self, lit: Lit) -> bool {
        let level = self.decided[lit.unsigned_abs() as usize];
        if lit > 0 { level > 0 } else { level < 0 }
    }

    fn is_false(&self, lit: Lit) -> bool {
        self.is_true(-lit)
    }

    fn level_of(&self, lit: Lit) -> i32 {
        self.decided[lit.unsigned_abs() as usize].abs()
    }

    fn has(&self, lit: Lit) -> bool {
        self.decided[lit as usize] > 0
    }

    fn decide(&mut self, lit: Lit, level: i32, because: i64) {
        self.decided[lit.unsigned_abs() as usize] = if lit > 0 { level } else { -level };
        self.queue.push(lit);
        self.because.push(because);
        self.revision += 1;
    }

    /// Decides what leaves no choice; the rule that fails, if one does.
    fn propagate(&mut self, level: i32) -> Option<RuleId> {
        while let Some(&decided) = self.queue.get(self.propagated) {
            self.propagated += 1;
            let lost = -decided;
            // Where the number of the rule that is looked at stands: a head, or a side of another rule.
            let mut place: Result<usize, (RuleId, usize)> = Ok(self.head(lost));
            loop {
                let rule = match place {
                    Ok(head) => self.heads[head],
                    Err((rule, side)) => self.watches[rule].next[side],
                };
                if rule == 0 {
                    break;
                }
                let side = usize::from(self.watches[rule].lits[0] != lost);
                let other = self.watches[rule].lits[1 - side];
                let next = Err((rule, side));
                if self.is_true(other) {
                    place = next;
                    continue;
                }
                if let Some(lit) = self.replacement(rule, other) {
                    let follower = self.watches[rule].next[side];
                    match place {
                        Ok(head) => self.heads[head] = follower,
                        Err((before, side)) => self.watches[before].next[side] = follower,
                    }
                    let head = self.head(lit);
                    self.watches[rule].lits[side] = lit;
                    self.watches[rule].next[side] = self.heads[head];
                    self.heads[head] = rule;
                    continue;
                }
                if self.is_false(other) {
                    return Some(rule);
                }
                self.decide(other, level, rule as i64);
                place = next;
            }
        }
        None
    }

    /// Finds a literal of a long rule that can be watched instead of one that was lost.
    fn replacement(&self, rule: RuleId, other: Lit) -> Option<Lit> {
        let rule = &self.rules[rule];
        let rest = rule.rest.as_ref()?;
        std::iter::once(rule.first).chain(rest.iter().copied()).find(|&lit| lit != other && !self.is_false(lit))
    }

    /// Takes back what was decided above a level.
    fn revert(&mut self, level: i32) {
        self.revision += 1;
        while let Some(&lit) = self.queue.last()
            && self.level_of(lit) > level
        {
            self.decided[lit.unsigned_abs() as usize] = 0;
            self.queue.pop();
            self.because.pop();
        }
        self.propagated = self.propagated.min(self.queue.len());
        while self.branches.last().is_some_and(|branch| branch.level >= level) {
            self.branches.pop();
        }
    }

    /// Makes a rule of a conflict, goes back to where it leaves no choice, and says which level that is.
    fn learn(&mut self, level: i32, failed: RuleId) -> (i32, RuleId) {
        let mut seen = vec![false; self.decided.len()];
        let (mut kept, mut from) = (Vec::new(), Vec::new());
        let (mut back_to, mut open, mut open_below) = (1, 0, 0);
        let (mut first, mut place, mut rule) = (0, self.queue.len(), failed);
        'all: loop {
            from.push(rule);
            for lit in self.rules[rule].literals() {
                if self.is_true(lit) || std::mem::replace(&mut seen[lit.unsigned_abs() as usize], true) {
                    continue;
                }
                match self.level_of(lit) {
                    1 => open_below += 1,
                    found if found == level => open += 1,
                    found => {
                        kept.push(lit);
                        back_to = back_to.max(found);
                    }
                }
            }
            loop {
                if open == 0 {
                    open_below -= 1;
                    if open_below <= 0 {
                        break 'all;
                    }
                }
                let lit = loop {
                    place -= 1;
                    if seen[self.queue[place].unsigned_abs() as usize] {
                        break self.queue[place];
                    }
                };
                seen[lit.unsigned_abs() as usize] = false;
                if open > 0 {
                    open -= 1;
                    if open == 0 {
                        first = -lit;
                        if open_below == 0 {
                            break 'all;
                        }
                        kept.iter().for_each(|lit: &Lit| seen[lit.unsigned_abs() as usize] = false);
                        open_below += 1;
                        continue;
                    }
                }
                if self.because[place] > 0 {
                    rule = self.because[place] as RuleId;
                    break;
                }
            }
        }
        self.revert(back_to);
        let learnt = self.rules.len();
        self.rules.push(Rule::new(first, &kept, Why::Learnt));
        self.learnt_from.push(from);
        self.watches.push(watch_of(&self.rules[learnt]));
        if self.rules[learnt].is_assertion() {
            self.assertions.push(learnt);
        } else {
            if self.rules[learnt].rest.is_some() {
                let mut highest = 0;
                for &lit in &kept {
                    if self.level_of(lit) > highest {
                        highest = self.level_of(lit);
                        self.watches[learnt].lits[1] = lit;
                    }
                }
            }
            self.link(learnt);
        }
        (back_to, learnt)
    }

    /// Collects the rules that a failure follows from.
    fn proof(&self, failed: RuleId) -> NoSolution {
        let mut involved = vec![false; self.decided.len()];
        let mut rules = vec![failed];
        let mark = |rule: RuleId, involved: &mut Vec<bool>| {
            for lit in self.rules[rule].literals().filter(|lit| !self.is_true(*lit)) {
                involved[lit.unsigned_abs() as usize] = true;
            }
        };
        mark(failed, &mut involved);
        for place in (0..self.queue.len()).rev() {
            if involved[self.queue[place].unsigned_abs() as usize] && self.because[place] > 0 {
                rules.push(self.because[place] as RuleId);
                mark(self.because[place] as RuleId, &mut involved);
            }
        }
        self.unlearnt(rules)
    }

    /// Puts what learnt rules follow from in their place.
    fn unlearnt(&self, mut open: Vec<RuleId>) -> NoSolution {
        let mut found = Vec::new();
        let mut seen = vec![false; self.rules.len()];
        open.reverse();
        while let Some(rule) = open.pop() {
            if std::mem::replace(&mut seen[rule], true) {
                continue;
            }
            match rule.checked_sub(self.learnt_start) {
                Some(learnt) => open.extend(self.learnt_from[learnt].iter().rev()),
                None => found.push(rule),
            }
        }
        NoSolution::Unsolvable(found)
    }

    /// Decides for a package (or nothing) and all that follows; returns the level that this ends at.
    fn take(&mut self, mut level: i32, lit: Lit, rule: RuleId) -> Level {
        self.decisions += 1;
        if self.decisions > DECISIONS_MAX {
            return Err(NoSolution::TooHard);
        }
        level += 1;
        self.decide(lit, level, -(rule as i64));
        while let Some(failed) = self.propagate(level) {
            if level == 1 {
                return Err(self.proof(failed));
            }
            let (back_to, learnt) = self.learn(level, failed);
            level = back_to;
            self.decide(self.rules[learnt].first, level, learnt as i64);
        }
        Ok(level)
    }

    /// Decides what single rules say.
    fn assert_all(&mut self) -> Result<(), NoSolution> {
        for i in 0..self.assertions.len() {
            let rule = self.assertions[i];
            let lit = self.rules[rule].first;
            if self.is_false(lit) {
                return Err(self.proof(rule));
            }
            if !self.is_true(lit) {
                self.decide(lit, 1, rule as i64);
            }
        }
        match self.propagate(1) {
            Some(failed) => Err(self.proof(failed)),
            None => Ok(()),
        }
    }

    /// Solves; with `weak`, what is recommended comes in too.
    pub fn run(&mut self, weak: bool) -> Result<(), NoSolution> {
        self.assert_all()?;
        let (mut level, mut job_level) = (1, 2);
        loop {
            if level < job_level {
                let before = level;
                level = self.meet_jobs(level)?;
                if level < before {
                    continue;
                }
                job_level = level + 1;
            }
            job_level = job_level.min(level);
            let before = level;
            level = self.meet_rules(level)?;
            if level < before {
                continue;
            }
            if weak && let Some(reached) = self.meet_weak(level)? {
                level = reached;
                continue;
            }
            match self.second_thought() {
                Some((branch, choice)) => level = self.retake(branch, choice)?,
                None => return Ok(()),
            }
        }
    }

    /// Meets the request part by part.
    fn meet_jobs(&mut self, mut level: i32) -> Level {
        let begin = level;
        let mut rule = self.jobs.start;
        while rule < self.jobs.end {
            let Some(choices) = self.open_choices(rule) else {
                rule += 1;
                continue;
            };
            let before = level;
            level = self.choose(level, choices, rule)?;
            if level < begin {
                return Ok(level);
            }
            // After a step back everything is looked at again.
            rule = match level {
                level if level > before => rule + 1,
                level if level == before => rule,
                _ => self.jobs.start,
            };
        }
        Ok(level)
    }

    /// Returns what a rule could still be met by; nothing if it is met or does not count.
    fn open_choices(&self, rule: RuleId) -> Option<Vec<Lit>> {
        let mut choices = Vec::new();
        for lit in self.rules[rule].literals() {
            if lit < 0 {
                if !self.has(-lit) {
                    return None;
                }
            } else if self.has(lit) {
                return None;
            } else if self.decided[lit as usize] == 0 {
                choices.push(lit);
            }
        }
        (!choices.is_empty()).then_some(choices)
    }

    /// Decides all rules that are open, those first where the policy leaves but one choice.
    fn meet_rules(&mut self, mut level: i32) -> Level {
        let begin = level;
        let (mut rule, mut looked_at) = (1, 1);
        // The first rule with a real choice, once that is all that is left.
        let mut put_off: Option<RuleId> = None;
        let mut is_second_pass = false;
        loop {
            if looked_at >= self.rules.len() {
                match put_off.take() {
                    Some(first) => (rule, is_second_pass, looked_at) = (first, true, 1),
                    None => return Ok(level),
                }
            }
            if rule == self.rules.len() {
                rule = 1;
            }
            if let Some(mut choices) = self.open_choices(rule).filter(|choices| choices.len() > 1) {
                let is_plain = {
                    if !is_second_pass {
                        self.filter(&mut choices, false);
                    }
                    choices.len() == 1 || is_second_pass
                };
                if is_plain {
                    level = self.choose(level, choices, rule)?;
                    if level < begin {
                        return Ok(level);
                    }
                    looked_at = 0;
                } else if put_off.is_none() {
                    put_off = Some(rule);
                }
            }
            rule += 1;
            looked_at += 1;
        }
    }

    fn choose(&mut self, level: i32, mut choices: Vec<Lit>, rule: RuleId) -> Level {
        if choices.len() > 1 {
            self.filter(&mut choices, true);
        }
        self.branch(level, &choices);
        self.take(level, choices[0], rule)
    }

    fn branch(&mut self, level: i32, choices: &[Lit]) {
        if choices.len() > 1 {
            let mut choices = choices.to_vec();
            choices[0] = -choices[0];
            self.branches.push(Branch { level, choices });
        }
    }

    /// Leaves the packages that are preferred, in order if that is wanted.
    fn filter(&mut self, choices: &mut Vec<Lit>, in_order: bool) {
        policy::prune(self.pool, choices);
        if choices.len() < 2 {
            return;
        }
        self.update_weak();
        let liked: Vec<Lit> = choices.iter().copied().filter(|&lit| self.is_recommended(lit)).collect();
        if !liked.is_empty() {
            *choices = liked;
        }
        if choices.len() > 1 && in_order {
            self.put_in_order(choices);
        }
    }

    fn put_in_order(&mut self, choices: &mut Vec<Lit>) {
        policy::dislike_old_versions(self.pool, choices);
        policy::sort_by_common_offers(self.pool, choices);
        self.update_weak();
        policy::to_back(choices, |lit| !(self.suggested[lit as usize] || self.is_enhancing(lit)));
    }

    fn is_recommended(&self, lit: Lit) -> bool {
        self.recommended[lit as usize] || self.is_supplementing(lit)
    }

    fn is_supplementing(&self, lit: Lit) -> bool {
        self.pool.facts(lit).supplements.iter().any(|&dep| self.is_met(dep))
    }

    fn is_enhancing(&self, lit: Lit) -> bool {
        self.pool.facts(lit).enhances.iter().any(|&dep| self.is_met(dep))
    }

    fn is_met(&self, dep: DepId) -> bool {
        match self.pool.dep_at(dep) {
            Dep::Join(Word::And, a, b) => self.is_met(a) && self.is_met(b),
            Dep::Join(Word::Or, a, b) => self.is_met(a) || self.is_met(b),
            Dep::Join(word @ (Word::If | Word::Unless), a, b) => {
                let is_if = word == Word::If;
                match self.pool.dep_at(b) {
                    Dep::Join(Word::Else, condition, other) if self.is_met(condition) => {
                        self.is_met(if is_if { a } else { other })
                    }
                    Dep::Join(Word::Else, _, other) => self.is_met(if is_if { other } else { a }),
                    _ if is_if => self.is_met(a) || !self.is_met(b),
                    _ => self.is_met(a) && !self.is_met(b),
                }
            }
            _ => self.pool.providers(dep).iter().any(|&lit| self.has(lit)),
        }
    }

    /// Marks what the packages decided for recommend and suggest.
    fn update_weak(&mut self) {
        if std::mem::replace(&mut self.weak_revision, self.revision) == self.revision {
            return;
        }
        self.recommended.fill(false);
        self.suggested.fill(false);
        let chosen: Vec<Lit> = self.chosen().collect();
        for lit in chosen {
            let facts = self.pool.facts(lit);
            for &dep in &facts.recommends {
                for lit in self.meant(dep) {
                    self.recommended[lit as usize] = true;
                }
            }
            for &dep in &facts.suggests {
                for lit in self.meant(dep) {
                    self.suggested[lit as usize] = true;
                }
            }
        }
    }

    /// Returns the packages that a weak dependency means as things stand.
    fn meant(&self, dep: DepId) -> Vec<Lit> {
        if !self.pool.is_complex(dep) {
            return self.pool.providers(dep).to_vec();
        }
        let Normal::Blocks(blocks) = normalize(self.pool, dep, Form::Conjunctive) else { return Vec::new() };
        let counts = |block: &&Vec<Lit>| block.iter().all(|lit| *lit > 0 || self.has(-*lit));
        blocks.iter().filter(counts).flatten().copied().filter(|lit| *lit > 0).collect()
    }

    /// Returns the undecided packages that would meet a recommendation; none if it is met.
    fn missing(&self, dep: DepId, is_candidate: impl Fn(Lit) -> bool) -> Vec<Lit> {
        let of = |lits: &[Lit]| match lits.iter().any(|lit| *lit > 0 && self.has(*lit)) {
            true => Vec::new(),
            false => {
                lits.iter().copied().filter(|&lit| lit > 0 && self.decided[lit as usize] == 0 && is_candidate(lit)).collect()
            }
        };
        if !self.pool.is_complex(dep) {
            return of(&self.pool.providers(dep));
        }
        let Normal::Blocks(blocks) = normalize(self.pool, dep, Form::Conjunctive) else { return Vec::new() };
        let mut missing = Vec::new();
        for block in blocks.iter().filter(|block| block.iter().all(|lit| *lit > 0 || self.has(-*lit))) {
            missing.extend(of(block).into_iter().filter(|lit| !missing.contains(lit)).collect::<Vec<_>>());
        }
        missing
    }

    /// Takes what is recommended and supplemented; returns the level if something was.
    fn meet_weak(&mut self, mut level: i32) -> Result<Option<i32>, NoSolution> {
        let mut wanted: Vec<Lit> = Vec::new();
        let mut supplements: Vec<Lit> = Vec::new();
        for lit in 1..self.decided.len() as Lit {
            if self.has(lit) {
                for &dep in &self.pool.facts(lit).recommends {
                    let missing = self.missing(dep, |_| true);
                    wanted.extend(missing.into_iter().filter(|lit| !wanted.contains(lit)).collect::<Vec<_>>());
                }
            }
        }
        for &id in self.pool.solvables.supplementing() {
            let lit = Pool::lit(id);
            let is_open = self.decided[lit as usize] == 0 && self.pool.is_usable(lit) && self.is_supplementing(lit);
            if is_open && !(self.colors && self.has_other_arch(lit)) {
                supplements.push(lit);
            }
        }
        wanted.extend(supplements.iter().copied().filter(|lit| !wanted.contains(lit)).collect::<Vec<_>>());
        if wanted.len() < 2 {
            return match wanted.first() {
                Some(&only) => self.take(level, only, 0).map(Some),
                None => Ok(None),
            };
        }
        policy::prune(self.pool, &mut wanted);
        supplements.retain(|lit| wanted.contains(lit));
        if supplements.len() > 1 {
            self.put_in_order(&mut supplements);
        }
        let decided = self.queue.len();
        for lit in supplements {
            if self.decided[lit as usize] == 0 {
                let before = level;
                level = self.take(level, lit, 0)?;
                if level <= before || self.queue.len() < decided {
                    return Ok(Some(level));
                }
            }
        }
        self.meet_recommends(level, decided, &wanted).map(Some)
    }

    fn meet_recommends(&mut self, mut level: i32, decided: usize, wanted: &[Lit]) -> Level {
        for place in 0..decided {
            let lit = self.queue[place];
            if lit < 0 {
                continue;
            }
            for &dep in &self.pool.facts(lit).recommends {
                let mut choices = self.missing(dep, |lit| wanted.contains(&lit));
                if choices.is_empty() {
                    continue;
                }
                if choices.len() > 1 {
                    self.filter(&mut choices, true);
                }
                self.branch(level, &choices);
                let before = level;
                level = self.take(level, choices[0], 0)?;
                if level <= before || self.queue.len() < decided {
                    return Ok(level);
                }
            }
        }
        Ok(level)
    }

    /// Tells whether the same package is there for another architecture.
    fn has_other_arch(&self, lit: Lit) -> bool {
        let named = self.pool.named(self.pool.name(lit));
        named.iter().any(|&other| self.has(other) && self.pool.arch(other) != self.pool.arch(lit))
    }

    /// Finds a choice that is better made otherwise: for what came in later anyway, or for what is recommended now.
    fn second_thought(&mut self) -> Option<(usize, usize)> {
        self.update_weak();
        let mut found = None;
        for (number, branch) in self.branches.iter().enumerate().rev() {
            let open = || branch.choices.iter().copied().enumerate().filter(|(_, lit)| *lit > 0);
            if let Some((choice, _)) = open().find(|(_, lit)| self.decided[*lit as usize] > branch.level) {
                found = Some((number, choice));
                continue;
            }
            if let Some((choice, _)) = open().find(|(_, lit)| self.is_recommended(*lit)) {
                let mut tried = branch.choices.iter().copied().filter(|lit| *lit < 0).map(|lit| -lit);
                if tried.any(|lit| self.decided[lit as usize] == branch.level + 1 && !self.is_recommended(lit)) {
                    found = Some((number, choice));
                }
            }
        }
        found
    }

    fn retake(&mut self, branch: usize, choice: usize) -> Level {
        let level = self.branches[branch].level;
        let lit = self.branches[branch].choices[choice];
        self.branches[branch].choices[choice] = -lit;
        self.branches.truncate(branch + 1);
        // It stays open: only what lies above it is taken back.
        let kept = self.branches.pop();
        let place = self.queue.iter().position(|lit| self.level_of(*lit) > level);
        let rule = place.map_or(0, |place| self.because[place].min(0).unsigned_abs() as RuleId);
        let below: Vec<Branch> = std::mem::take(&mut self.branches);
        self.revert(level);
        self.branches = below;
        self.branches.extend(kept);
        self.take(level, lit, rule)
    }
}

fn watch_of(rule: &Rule) -> Watch {
    let second = rule.rest.as_ref().map_or(rule.second, |rest| rest[0]);
    Watch { lits: [rule.first, second], next: [0, 0] }
}
