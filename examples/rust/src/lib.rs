//! qwen3edge from Rust, over its C library and nothing else: handles free themselves, statuses are errors, an answer's
//! events go to a closure. What qwen3edge.h says holds here.

pub mod sys;

use std::ffi::{CStr, CString};
use std::os::raw::{c_int, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::{fmt, ptr, slice};

/// A status other than Q3E_OK, with what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub status: i32,
    pub text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;

fn check(status: c_int) -> Result<()> {
    if status == sys::OK {
        return Ok(());
    }
    // Of this thread, until its next call that fails.
    let text = unsafe { CStr::from_ptr(sys::q3e_error_text()) };
    Err(Error {
        status,
        text: text.to_string_lossy().into_owned(),
    })
}

fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error {
        status: 1,
        text: "expected a text without zeros, found one".to_string(),
    })
}

/// How a model is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Positions an answer; none: 4096, or all that the model knows.
    pub context: Option<u32>,
    /// Bytes that the process may hold resident; none: what the machine leaves.
    pub memory: Option<u64>,
}

struct ModelHandle(*mut sys::Model);

// A model is for any thread at any time.
unsafe impl Send for ModelHandle {}
unsafe impl Sync for ModelHandle {}

impl Drop for ModelHandle {
    fn drop(&mut self) {
        unsafe { sys::q3e_model_free(self.0) }
    }
}

/// Clones are the same model; answers keep it.
#[derive(Clone)]
pub struct Model(Arc<ModelHandle>);

impl Model {
    pub fn load(path: &str, settings: Settings) -> Result<Model> {
        let found = unsafe { sys::q3e_abi() };
        if found != sys::ABI {
            return Err(Error {
                status: 1,
                text: format!(
                    "expected version {} of the interface, found {found}",
                    sys::ABI
                ),
            });
        }
        let path = c_text(path)?;
        let mut made = ptr::null_mut();
        check(unsafe { sys::q3e_settings_new(&mut made) })?;
        let mut model = ptr::null_mut();
        let set = || -> Result<()> {
            if let Some(context) = settings.context {
                check(unsafe { sys::q3e_settings_set_context(made, context) })?;
            }
            if let Some(memory) = settings.memory {
                check(unsafe { sys::q3e_settings_set_memory(made, memory) })?;
            }
            Ok(())
        };
        let status =
            set().and_then(|()| check(unsafe { sys::q3e_load(path.as_ptr(), made, &mut model) }));
        unsafe { sys::q3e_settings_free(made) };
        status.map(|()| Model(Arc::new(ModelHandle(model))))
    }

    /// Puts a request into the queue; it is copied.
    pub fn answer(&self, request: &Request) -> Result<Answer> {
        let mut handle = ptr::null_mut();
        check(unsafe { sys::q3e_answer_new(self.0 .0, request.0, &mut handle) })?;
        Ok(Answer {
            handle: Arc::new(AnswerHandle {
                answer: handle,
                _model: self.clone(),
            }),
        })
    }
}

/// What is asked for. Its messages make a conversation.
pub struct Request(*mut sys::Request);

unsafe impl Send for Request {}

impl Request {
    pub fn new() -> Result<Request> {
        let mut handle = ptr::null_mut();
        check(unsafe { sys::q3e_request_new(&mut handle) })?;
        Ok(Request(handle))
    }

    /// role: "system", "user", "assistant" or "tool".
    pub fn add(&mut self, role: &str, content: &str) -> Result<()> {
        let (role, content) = (c_text(role)?, c_text(content)?);
        check(unsafe { sys::q3e_request_add_message(self.0, role.as_ptr(), content.as_ptr()) })
    }

    /// What an answer said.
    pub fn add_answer(&mut self, answer: &Answer) -> Result<()> {
        check(unsafe { sys::q3e_request_add_answer(self.0, answer.handle.answer) })
    }

    /// The same seed gives the same answer everywhere.
    pub fn seed(&mut self, seed: u64) -> Result<()> {
        check(unsafe { sys::q3e_request_set_seed(self.0, seed) })
    }

    pub fn max_tokens(&mut self, tokens: u32) -> Result<()> {
        check(unsafe { sys::q3e_request_set_max_tokens(self.0, tokens) })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        unsafe { sys::q3e_request_free(self.0) }
    }
}

/// Of an answer, as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Reasoning(&'a str),
    Content(&'a str),
    /// A token, progress of the prompt, a part of a tool call, the end: what this crate does not tell apart.
    Other,
}

struct AnswerHandle {
    answer: *mut sys::Answer,
    _model: Model,
}

// `q3e_answer_cancel` is for any thread; all else needs the Answer itself.
unsafe impl Send for AnswerHandle {}
unsafe impl Sync for AnswerHandle {}

impl Drop for AnswerHandle {
    fn drop(&mut self) {
        unsafe { sys::q3e_answer_free(self.answer) }
    }
}

pub struct Answer {
    handle: Arc<AnswerHandle>,
}

/// Ends an answer from any thread.
#[derive(Clone)]
pub struct Canceller(Arc<AnswerHandle>);

impl Canceller {
    pub fn cancel(&self) {
        unsafe { sys::q3e_answer_cancel(self.0.answer) }
    }
}

struct Listener<'a> {
    on_event: &'a mut dyn FnMut(Event<'_>) -> bool,
    panic: Option<Box<dyn std::any::Any + Send>>,
}

extern "C" fn tell(data: *mut c_void, event: *const sys::Event) -> c_int {
    let listener = unsafe { &mut *data.cast::<Listener>() };
    let event = unsafe { &*event };
    let text = if event.text.is_null() {
        ""
    } else {
        // Whole characters of UTF-8, as the header says.
        let bytes = unsafe { slice::from_raw_parts(event.text.cast::<u8>(), event.length) };
        std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
    };
    let told = match event.kind {
        sys::EVENT_REASONING => Event::Reasoning(text),
        sys::EVENT_CONTENT => Event::Content(text),
        _ => Event::Other,
    };
    // No panic may cross C.
    match catch_unwind(AssertUnwindSafe(|| (listener.on_event)(told))) {
        Ok(go_on) => c_int::from(!go_on),
        Err(panic) => {
            listener.panic = Some(panic);
            1
        }
    }
}

impl Answer {
    pub fn canceller(&self) -> Canceller {
        Canceller(self.handle.clone())
    }

    /// Computes it to its end; false where it was stopped or cancelled. on_event: returns whether to go on.
    pub fn run(&mut self, mut on_event: impl FnMut(Event<'_>) -> bool) -> Result<bool> {
        let mut listener = Listener {
            on_event: &mut on_event,
            panic: None,
        };
        let data: *mut Listener = &mut listener;
        let status = unsafe { sys::q3e_answer_run(self.handle.answer, Some(tell), data.cast()) };
        if let Some(panic) = listener.panic {
            resume_unwind(panic);
        }
        if status == sys::CANCELLED {
            return Ok(false);
        }
        check(status).map(|()| true)
    }

    pub fn usage(&self) -> Result<sys::Usage> {
        let mut usage = sys::Usage::default();
        let size = std::mem::size_of::<sys::Usage>();
        check(unsafe { sys::q3e_answer_usage(self.handle.answer, &mut usage, size) })?;
        Ok(usage)
    }
}
