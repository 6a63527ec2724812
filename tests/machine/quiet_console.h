// SPDX-License-Identifier: Apache-2.0
// Runs a tiny guest with a console that nobody types at.
#pragma once
#include <stdexcept>

#include "machine/loader/loader.h"
#include "machine/machine.h"
#include "machine/tiny_guest.h"

namespace droste {

class QuietConsole : public HostConsole {
public:
    void put(u8 byte) override { printed.push_back(static_cast<char>(byte)); }
    void poll_input(std::vector<u8>&) override {}
    bool quit_requested() override { return false; }
    void progress(const RunProgress&) override {}
    bool wait_for_input() override { return false; }
    std::string printed;
};

struct QuietRun {
    RunSummary summary;
    std::string printed;
};

inline QuietRun run_quietly(const TinyGuest& guest, const std::vector<std::string>& sets = {}) {
    Options options;
    for (const std::string& s : {std::string("memory.size=32MiB"), std::string("run.max_ticks=10000000")})
        if (!options.set(s))
            throw std::logic_error(s);
    for (const std::string& s : sets)
        if (const Status status = options.set(s); !status)
            throw std::runtime_error(status.error().text);
    QuietConsole console;
    Result<std::unique_ptr<Machine>> machine = Machine::create(options, console);
    if (!machine)
        throw std::runtime_error(machine.error().text);
    BootRequest request;
    request.kernel = {"tiny", guest.image()};
    if (const Status loaded = (*machine)->load(request); !loaded)
        throw std::runtime_error(loaded.error().text);
    (*machine)->run();
    return {(*machine)->summary(), console.printed};
}

/// What a guest writes to the debug-exit port.
inline u32 code_of(const TinyGuest& guest, const std::vector<std::string>& sets = {}) {
    const QuietRun r = run_quietly(guest, sets);
    if (r.summary.end.kind != EndKind::debug_exit)
        throw std::runtime_error(r.summary.end.reason);
    return r.summary.end.code;
}

}  // namespace droste
