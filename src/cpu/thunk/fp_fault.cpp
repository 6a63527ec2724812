// SPDX-License-Identifier: Apache-2.0
// The SIGFPE handler of thunks.
#include "cpu/thunk/fp_fault.h"

#include <signal.h>
#include <ucontext.h>

#include "base/assert.h"

namespace droste {

namespace {

// A signal's disposition belongs to the process, and a handler gets no argument from who installed it: what
// was there before can only be kept here.
struct sigaction earlier {};

void on_sigfpe(int signal_number, siginfo_t* info, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    if (static_cast<u64>(registers[REG_R10]) == fp_fault_signature) {
        registers[REG_RIP] = registers[REG_R11];
        return;
    }
    if ((earlier.sa_flags & SA_SIGINFO) && earlier.sa_sigaction)
        return earlier.sa_sigaction(signal_number, info, context);
    // Nobody's: on return the instruction faults again, now with the default action.
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    sigaction(signal_number, &action, nullptr);
}

}  // namespace

void install_fp_fault_handler() {
    struct sigaction action {};
    ASSERT(sigaction(SIGFPE, nullptr, &action) == 0);
    if ((action.sa_flags & SA_SIGINFO) && action.sa_sigaction == on_sigfpe) return;
    earlier = action;
    action = {};
    action.sa_sigaction = on_sigfpe;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ASSERT(sigaction(SIGFPE, &action, nullptr) == 0);
}

}  // namespace droste
