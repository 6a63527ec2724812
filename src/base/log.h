// SPDX-License-Identifier: Apache-2.0
// Log: messages for the people at the terminal, by topic; never guest-visible.
#pragma once
#include <string>
#include <string_view>

namespace droste {

enum class LogLevel : unsigned char { error, warning, info, debug };

/// Where messages go. The machine hands one to every part that has something to say.
class Log {
public:
    virtual ~Log() = default;
    virtual bool wants(LogLevel level) const = 0;
    virtual void write(LogLevel level, std::string_view topic, std::string_view text) = 0;
};

}  // namespace droste
