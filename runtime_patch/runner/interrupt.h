// Ctrl-C and SIGTERM as a question that the long loops ask.

#ifndef TILESKIP_RUNNER_INTERRUPT_H_
#define TILESKIP_RUNNER_INTERRUPT_H_

namespace tileskip {

// From now on the first SIGINT or SIGTERM is only noted; a second one ends the
// process at once. SIGPIPE and SIGXFSZ are ignored, so that a closed pipe and a
// file that is too large are errors of the write.
void CatchInterrupts();

// Whether such a signal has come.
bool InterruptRequested();

// 128 plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
int InterruptExitCode();

}  // namespace tileskip

#endif  // TILESKIP_RUNNER_INTERRUPT_H_
