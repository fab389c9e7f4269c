//! The parts of qwen3edge.h that this crate uses, as C has them.

use std::os::raw::{c_char, c_int, c_void};

pub const OK: c_int = 0;
pub const CANCELLED: c_int = 11;
pub const ABI: u32 = 1;

pub const EVENT_REASONING: c_int = 2;
pub const EVENT_CONTENT: c_int = 3;

/// Handles, which nobody looks into.
#[repr(C)]
pub struct Settings {
    _private: [u8; 0],
}
#[repr(C)]
pub struct Model {
    _private: [u8; 0],
}
#[repr(C)]
pub struct Request {
    _private: [u8; 0],
}
#[repr(C)]
pub struct Answer {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub seed: u64,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub computed_tokens: u32,
    pub completion_tokens: u32,
    pub reasoning_tokens: u32,
    pub queue_seconds: f64,
    pub prefill_seconds: f64,
    pub decode_seconds: f64,
}

/// The first fields of a q3e_event: the library owns it, and it may have more behind them.
#[repr(C)]
pub struct Event {
    pub kind: c_int,
    pub call: u32,
    pub text: *const c_char,
    pub length: usize,
}

pub type OnEvent = extern "C" fn(data: *mut c_void, event: *const Event) -> c_int;

extern "C" {
    pub fn q3e_abi() -> u32;
    pub fn q3e_error_text() -> *const c_char;

    pub fn q3e_settings_new(settings: *mut *mut Settings) -> c_int;
    pub fn q3e_settings_free(settings: *mut Settings);
    pub fn q3e_settings_set_context(settings: *mut Settings, context: u32) -> c_int;
    pub fn q3e_settings_set_memory(settings: *mut Settings, bytes: u64) -> c_int;

    pub fn q3e_load(
        path: *const c_char,
        settings: *const Settings,
        model: *mut *mut Model,
    ) -> c_int;
    pub fn q3e_model_free(model: *mut Model);

    pub fn q3e_request_new(request: *mut *mut Request) -> c_int;
    pub fn q3e_request_free(request: *mut Request);
    pub fn q3e_request_add_message(
        request: *mut Request,
        role: *const c_char,
        content: *const c_char,
    ) -> c_int;
    pub fn q3e_request_add_answer(request: *mut Request, answer: *const Answer) -> c_int;
    pub fn q3e_request_set_seed(request: *mut Request, seed: u64) -> c_int;
    pub fn q3e_request_set_max_tokens(request: *mut Request, tokens: u32) -> c_int;

    pub fn q3e_answer_new(
        model: *mut Model,
        request: *const Request,
        answer: *mut *mut Answer,
    ) -> c_int;
    pub fn q3e_answer_run(
        answer: *mut Answer,
        on_event: Option<OnEvent>,
        data: *mut c_void,
    ) -> c_int;
    pub fn q3e_answer_cancel(answer: *mut Answer);
    pub fn q3e_answer_free(answer: *mut Answer);
    pub fn q3e_answer_usage(answer: *const Answer, usage: *mut Usage, size: usize) -> c_int;
}
