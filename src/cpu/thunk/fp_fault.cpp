// SPDX-License-Identifier: Apache-2.0
// The SIGFPE handler of thunks.
#include "cpu/thunk/fp_fault.h"

#include <signal.h>
#include <ucontext.h>

#include "base/assert.h"

namespace droste {

namespace {

void on_sigfpe(int signal_number, siginfo_t*, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    if (static_cast<u64>(registers[REG_R10]) == fp_fault_signature) {
        registers[REG_RIP] = registers[REG_R11];
        return;
    }
    // Not ours: on return the instruction faults again, now with the default action.
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    sigaction(signal_number, &action, nullptr);
}

}  // namespace

void install_fp_fault_handler() {
    struct sigaction action {};
    action.sa_sigaction = on_sigfpe;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ASSERT(sigaction(SIGFPE, &action, nullptr) == 0);
}

}  // namespace droste
