#include "crash.h"

#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "status.h"

namespace tileskip {
namespace {

// Made before the crash: a signal handler may only copy and write.
char prefix[1024];
char alternate_stack[32 * 1024];

const char* NameOf(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGILL:
      return "SIGILL";
    default:
      return "SIGABRT";
  }
}

void Say(const char* text) {
  // The process ends either way.
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

extern "C" void EndAfterCrash(int signal) {
  Say(prefix);
  Say(NameOf(signal));
  Say("); is it damaged?\n");
  _exit(static_cast<int>(ExitCode::kModel));
}

}  // namespace

void ReportCrashes(const std::string& model) {
  const std::string text = "tileskip-run: error: " + model.substr(0, 900) +
                           ": the runtime crashed on this model (";
  std::strncpy(prefix, text.c_str(), sizeof(prefix) - 1);

  stack_t stack = {};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof(alternate_stack);
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = EndAfterCrash;
  action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace tileskip
