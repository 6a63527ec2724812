// SPDX-License-Identifier: Apache-2.0
// TestResult: what came of a test, and the reports over all of them.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"

namespace droste {

enum class Verdict : u8 {
    passed,
    failed,   ///< ended in another way than expected
    skipped,  ///< the kernel said that it cannot test here
    timeout,
    crashed,  ///< the emulator died: a defect of Droste's own
    refused,  ///< the emulator would not start it
};
std::string_view verdict_name(Verdict verdict);
/// Whether the whole run fails by it.
constexpr bool is_bad(Verdict v) {
    return v != Verdict::passed && v != Verdict::skipped;
}

struct TestResult {
    std::string name;
    Verdict verdict = Verdict::refused;
    std::string reason;  ///< a sentence, for what did not pass
    u64 ticks = 0;
    double seconds = 0;     ///< of the host
    std::string last_line;  ///< of the guest's output
    std::string output;     ///< all of it, or its end when it is long
};

/// The table that ends a run, and the line that counts.
std::string results_table(std::span<const TestResult> results, bool colour);
/// JUnit's XML, as continuous-integration services read it.
std::string results_junit(std::string_view suite, std::span<const TestResult> results);
/// The last line that is not blank, without control characters.
std::string last_line_of(std::string_view output);

}  // namespace droste
