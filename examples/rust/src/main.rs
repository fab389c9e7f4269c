//! A chat: rust-chat MODEL.q3e [SEED [MILLISECONDS]]
//! Reads questions, one a line, and streams the answers; thoughts go to stderr. An answer that takes longer is cancelled
//! by another thread.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use qwen3edge::{Event, Model, Request, Settings};

type Failure = Box<dyn std::error::Error>;

fn answer(model: &Model, request: &mut Request, limit: Option<Duration>) -> Result<(), Failure> {
    let mut answer = model.answer(request)?;
    let (ended, end) = mpsc::channel::<()>();
    let canceller = answer.canceller();
    let watch = limit.map(|limit| {
        thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                canceller.cancel();
            }
        })
    });
    let whole = answer.run(|event| {
        match event {
            Event::Content(text) => print!("{text}"),
            Event::Reasoning(text) => eprint!("{text}"),
            Event::Other => {}
        }
        io::stdout().flush().is_ok() // a reader that is gone needs no more
    });
    drop(ended);
    if let Some(watch) = watch {
        watch
            .join()
            .map_err(|_| "the thread that watches the time failed")?;
    }
    println!();
    if !whole? {
        eprintln!("(cancelled)");
    }
    request.add_answer(&answer)?;
    Ok(())
}

fn chat(arguments: &[String]) -> Result<(), Failure> {
    let model = Model::load(&arguments[0], Settings::default())?;
    let mut request = Request::new()?;
    if let Some(seed) = arguments.get(1) {
        request.seed(seed.parse()?)?;
    }
    let limit = match arguments.get(2) {
        Some(milliseconds) => Some(Duration::from_millis(milliseconds.parse()?)),
        None => None,
    };
    for line in io::stdin().lock().lines() {
        request.add("user", &line?)?;
        answer(&model, &mut request, limit)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.len() > 3 {
        eprintln!("usage: rust-chat MODEL.q3e [SEED [MILLISECONDS]]");
        return ExitCode::from(2);
    }
    match chat(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rust-chat: {error}");
            ExitCode::FAILURE
        }
    }
}
