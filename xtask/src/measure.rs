//! Measures whole processes with all their children: wall, user and system seconds, and the peak memory of the largest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::{at, tool};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Wall clock seconds.
    pub wall_s: f64,
    /// Processor seconds in user mode, children included.
    pub user_s: f64,
    /// Processor seconds in the kernel, children included.
    pub system_s: f64,
    /// Peak resident memory of the largest single process.
    pub peak_kib: u64,
    /// Load average of the machine before the run.
    pub load: f64,
}

impl Figures {
    /// Returns the processor seconds, which a busy machine distorts least.
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// Runs a command under GNU time and returns what it took; what it printed is in the error if it failed.
pub fn measure(command: &[String], work: &Path) -> Result<Figures, String> {
    let (report, log) = (work.join("time"), work.join("output"));
    let output = fs::File::create(&log).map_err(at(&log))?;
    let load = load_average();
    let mut time = tool("/usr/bin/time");
    time.args(["--quiet", "-f", "%e %U %S %M", "-o"]).arg(&report).args(command);
    time.stdin(Stdio::null()).stdout(output.try_clone().map_err(at(&log))?).stderr(output);
    let status = time.status().map_err(|error| format!("`/usr/bin/time` could not be started: {error}: install `time`"))?;
    if !status.success() {
        let said = fs::read(&log).map_err(at(&log))?;
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n    ");
        return Err(format!("`{}` failed with {status}:\n    {last}", command.join(" ")));
    }
    let text = fs::read_to_string(&report).map_err(at(&report))?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [wall_s, user_s, system_s, peak_kib] => Ok(Figures { wall_s, user_s, system_s, peak_kib: peak_kib as u64, load }),
        _ => Err(format!("`/usr/bin/time` reported `{}`", text.trim())),
    }
}

/// Returns the median of what `of` takes from each run.
pub fn median(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// Returns the machine in one line.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib: u64 = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let os = read("/etc/os-release");
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").trim_matches('"');
    let model = field(&read("/proc/cpuinfo"), "model name");
    format!("{cpus} × {model}, {:.0} GiB, {os}, kernel {}", memory_kib as f64 / 1_048_576.0, kernel.trim())
}

/// Returns today's date as the machine has it.
pub fn today() -> String {
    let output = Command::new("date").arg("+%Y-%m-%d").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}
