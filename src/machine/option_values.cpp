// SPDX-License-Identifier: Apache-2.0
// How users write numbers, sizes and times.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "machine/options.h"

namespace droste {

namespace {

struct Factor {
    std::string_view suffix;
    u64 factor;
};

constexpr Factor size_factors[] = {
    {"", 1},           {"B", 1},          {"KiB", 1u << 10},
    {"MiB", 1u << 20}, {"GiB", 1u << 30}, {"TiB", 1ull << 40},
    {"K", 1u << 10},   {"M", 1u << 20},   {"G", 1u << 30},
    {"T", 1ull << 40},
};
constexpr Factor integer_factors[] = {{"", 1}, {"k", 1000}, {"M", 1000'000}, {"G", 1000'000'000}};
constexpr Factor time_factors[] = {{"", 1000},      {"s", 1000},   {"ms", 1},
                                   {"min", 60'000}, {"m", 60'000}, {"h", 3600'000}};

std::string_view trimmed(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t'))
        s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t'))
        s.remove_suffix(1);
    return s;
}

/// A decimal number with an optional fraction, then one of the suffixes. Exact: fractions of a unit that do
/// not give a whole number are refused.
Result<u64> with_factor(std::string_view text, std::span<const Factor> factors, std::string_view what) {
    const auto refuse = [&](std::string_view why) -> Error { return {fmt::format("\"{}\" {}", text, why)}; };
    std::string digits;
    std::string_view s = trimmed(text);
    u64 whole = 0, fraction = 0, scale = 1;
    std::size_t i = 0, digits_seen = 0;
    bool point = false;
    for (; i < s.size(); ++i) {
        const char c = s[i];
        if (c == '_' && digits_seen != 0)
            continue;
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        ++digits_seen;
        if (point) {
            if (scale >= 1'000'000'000)
                return refuse("has too many digits after the point");
            fraction = fraction * 10 + static_cast<u64>(c - '0');
            scale *= 10;
        } else {
            if (whole > (~0ull - 9) / 10)
                return refuse("is too large");
            whole = whole * 10 + static_cast<u64>(c - '0');
        }
    }
    if (digits_seen == 0)
        return refuse(fmt::format("is not {}", what));
    const std::string_view suffix = trimmed(s.substr(i));
    for (const Factor& f : factors) {
        if (f.suffix != suffix)
            continue;
        const u128 parts = u128(fraction) * f.factor;
        if (parts % scale != 0)
            return refuse("is not a whole number of units");
        const u128 total = u128(whole) * f.factor + parts / scale;
        if (total > ~0ull)
            return refuse("is too large");
        return static_cast<u64>(total);
    }
    std::string known;
    for (const Factor& f : factors)
        if (!f.suffix.empty())
            known += fmt::format("{}{}", known.empty() ? "" : ", ", f.suffix);
    return refuse(fmt::format("is not {}: after the number may stand one of {}", what, known));
}

}  // namespace

Result<u64> parse_integer(std::string_view text) {
    const std::string_view s = trimmed(text);
    if (s.size() > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        u64 v = 0;
        const auto [end, error] = std::from_chars(s.data() + 2, s.data() + s.size(), v, 16);
        if (error == std::errc() && end == s.data() + s.size())
            return v;
        return Error{fmt::format("\"{}\" is not a hexadecimal number of at most 64 bits", text)};
    }
    return with_factor(text, integer_factors, "a whole number");
}

Result<u64> parse_size(std::string_view text) {
    return with_factor(text, size_factors, "a size");
}

Result<u64> parse_milliseconds(std::string_view text) {
    return with_factor(text, time_factors, "a time");
}

std::string show_size(u64 bytes) {
    for (const Factor& f : {Factor{"GiB", 1u << 30}, Factor{"MiB", 1u << 20}, Factor{"KiB", 1u << 10}})
        if (bytes >= f.factor && bytes % f.factor == 0)
            return fmt::format("{}{}", bytes / f.factor, f.suffix);
    return fmt::format("{}", bytes);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i)
        d[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j)
        d[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i)
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
            d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[a.size()][b.size()];
}

}  // namespace droste
