#include "interrupt.h"

#include <csignal>
#include <cstring>

namespace tileskip {
namespace {

volatile std::sig_atomic_t received_signal = 0;

extern "C" void NoteSignal(int signal) { received_signal = signal; }

}  // namespace

void CatchInterrupts() {
  struct sigaction action;
  std::memset(&action, 0, sizeof(action));
  action.sa_handler = NoteSignal;
  // One shot; SA_RESTART keeps file operations from failing half way.
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

bool InterruptRequested() { return received_signal != 0; }

int InterruptExitCode() { return 128 + received_signal; }

}  // namespace tileskip
