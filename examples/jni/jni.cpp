// The C library as org.qwen3edge.Native declares it.
#include <jni.h>

#include <string>

#include "qwen3edge.h"

namespace {

template <class T>
T* handle(jlong address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
jlong address(T* handle) {
  return reinterpret_cast<jlong>(handle);
}

// Whether it is Q3E_OK; else an exception is thrown when Java has the word again.
bool check(JNIEnv* env, q3e_status status) {
  if (status == Q3E_OK) return true;
  const std::string text = q3e_error_text();
  const jclass type = env->FindClass("org/qwen3edge/Qwen3EdgeException");
  const jclass strings = env->FindClass("java/lang/String");
  if (!type || !strings) return false;
  const auto length = static_cast<jsize>(text.size());
  const jbyteArray bytes = env->NewByteArray(length);
  const jstring charset = env->NewStringUTF("UTF-8");
  if (!bytes || !charset) return false;
  env->SetByteArrayRegion(bytes, 0, length, reinterpret_cast<const jbyte*>(text.data()));
  const jobject said = env->NewObject(strings, env->GetMethodID(strings, "<init>", "([BLjava/lang/String;)V"), bytes, charset);
  if (!said) return false;
  const jmethodID make = env->GetMethodID(type, "<init>", "(ILjava/lang/String;)V");
  const jobject error = make ? env->NewObject(type, make, static_cast<jint>(status), said) : nullptr;
  if (error) env->Throw(static_cast<jthrowable>(error));
  return false;
}

// With its zero.
std::string text_of(JNIEnv* env, jbyteArray bytes) {
  std::string text(static_cast<size_t>(env->GetArrayLength(bytes)), '\0');
  env->GetByteArrayRegion(bytes, 0, static_cast<jsize>(text.size()), reinterpret_cast<jbyte*>(text.data()));
  return text;
}

struct Listener {
  JNIEnv* env;
  jobject object;
  jmethodID tell;
};

int tell(void* data, const q3e_event* event) {
  const Listener& to = *static_cast<Listener*>(data);
  if (event->kind != Q3E_EVENT_REASONING && event->kind != Q3E_EVENT_CONTENT) return 0;
  const auto length = static_cast<jsize>(event->length);
  const jbyteArray bytes = to.env->NewByteArray(length);
  if (!bytes) return 1;
  to.env->SetByteArrayRegion(bytes, 0, length, reinterpret_cast<const jbyte*>(event->text));
  const jboolean reasoning = event->kind == Q3E_EVENT_REASONING ? JNI_TRUE : JNI_FALSE;
  const bool go_on = to.env->CallBooleanMethod(to.object, to.tell, reasoning, bytes);
  to.env->DeleteLocalRef(bytes);  // an answer has many events, and a call few references
  return go_on && !to.env->ExceptionCheck() ? 0 : 1;
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_qwen3edge_Native_load(JNIEnv* env, jclass, jbyteArray path, jint context, jlong memory) {
  q3e_settings* settings = nullptr;
  q3e_model* model = nullptr;
  if (check(env, q3e_settings_new(&settings)) && check(env, q3e_settings_set_context(settings, static_cast<uint32_t>(context))) &&
      check(env, q3e_settings_set_memory(settings, static_cast<uint64_t>(memory))))
    check(env, q3e_load(text_of(env, path).c_str(), settings, &model));
  q3e_settings_free(settings);
  return address(model);
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_freeModel(JNIEnv*, jclass, jlong model) {
  q3e_model_free(handle<q3e_model>(model));
}

JNIEXPORT jlong JNICALL Java_org_qwen3edge_Native_newRequest(JNIEnv* env, jclass) {
  q3e_request* request = nullptr;
  check(env, q3e_request_new(&request));
  return address(request);
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_freeRequest(JNIEnv*, jclass, jlong request) {
  q3e_request_free(handle<q3e_request>(request));
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_addMessage(JNIEnv* env, jclass, jlong request, jbyteArray role,
                                                            jbyteArray content) {
  check(env, q3e_request_add_message(handle<q3e_request>(request), text_of(env, role).c_str(), text_of(env, content).c_str()));
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_addAnswer(JNIEnv* env, jclass, jlong request, jlong answer) {
  check(env, q3e_request_add_answer(handle<q3e_request>(request), handle<q3e_answer>(answer)));
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_setSeed(JNIEnv* env, jclass, jlong request, jlong seed) {
  check(env, q3e_request_set_seed(handle<q3e_request>(request), static_cast<uint64_t>(seed)));
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_setMaxTokens(JNIEnv* env, jclass, jlong request, jint tokens) {
  check(env, q3e_request_set_max_tokens(handle<q3e_request>(request), static_cast<uint32_t>(tokens)));
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_setThinking(JNIEnv* env, jclass, jlong request, jint thinking) {
  check(env, q3e_request_set_thinking(handle<q3e_request>(request), static_cast<q3e_thinking>(thinking)));
}

JNIEXPORT jlong JNICALL Java_org_qwen3edge_Native_newAnswer(JNIEnv* env, jclass, jlong model, jlong request) {
  q3e_answer* answer = nullptr;
  check(env, q3e_answer_new(handle<q3e_model>(model), handle<q3e_request>(request), &answer));
  return address(answer);
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_freeAnswer(JNIEnv*, jclass, jlong answer) {
  q3e_answer_free(handle<q3e_answer>(answer));
}

JNIEXPORT jboolean JNICALL Java_org_qwen3edge_Native_run(JNIEnv* env, jclass, jlong answer, jobject listener) {
  const jclass type = env->FindClass("org/qwen3edge/Model$Listener");
  const jmethodID method = type ? env->GetMethodID(type, "tell", "(Z[B)Z") : nullptr;
  if (!method) return JNI_FALSE;
  Listener to{env, listener, method};
  const q3e_status status = q3e_answer_run(handle<q3e_answer>(answer), tell, &to);
  if (env->ExceptionCheck() || status == Q3E_CANCELLED) return JNI_FALSE;
  return check(env, status) ? JNI_TRUE : JNI_FALSE;
}

JNIEXPORT void JNICALL Java_org_qwen3edge_Native_cancel(JNIEnv*, jclass, jlong answer) {
  q3e_answer_cancel(handle<q3e_answer>(answer));
}

}  // extern "C"
