// SPDX-License-Identifier: Apache-2.0
// Distribution: counts of values in logarithmic buckets with 1/128 resolution, and exact min, max and sum.
#pragma once
#include <algorithm>
#include <bit>
#include <map>

#include "base/types.h"

namespace droste {

class Distribution {
public:
    void add(u64 value) {
        ++count_;
        sum_ += value;
        if (value < min_) min_ = value;
        if (value > max_) max_ = value;
        ++buckets_[bucket_of(value)];
    }
    void add(const Distribution& other) {
        count_ += other.count_;
        sum_ += other.sum_;
        min_ = std::min(min_, other.min_);
        max_ = std::max(max_, other.max_);
        for (const auto& [bucket, n] : other.buckets_) buckets_[bucket] += n;
    }
    u64 count() const { return count_; }
    u64 min() const { return count_ == 0 ? 0 : min_; }
    u64 max() const { return max_; }
    double mean() const { return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_); }
    /// The smallest bucket value that at least `share` (0..1) of the values do not exceed; exact below 256.
    u64 quantile(double share) const {
        const auto wanted = static_cast<u64>(share * static_cast<double>(count_) + 0.5);
        u64 seen = 0;
        for (const auto& [bucket, n] : buckets_) {
            seen += n;
            if (seen >= wanted && seen > 0) return std::max(min(), std::min(max_, middle_of(bucket)));
        }
        return max_;
    }

private:
    static constexpr unsigned sub_bits = 7;
    static u32 bucket_of(u64 v) {
        if (v < (1u << (sub_bits + 1))) return static_cast<u32>(v);
        const unsigned shift = static_cast<unsigned>(std::bit_width(v)) - sub_bits - 1;
        return static_cast<u32>((u64(shift) << (sub_bits + 1)) + (v >> shift));
    }
    static u64 middle_of(u32 bucket) {
        if (bucket < (1u << (sub_bits + 1))) return bucket;
        const unsigned shift = (bucket >> (sub_bits + 1)) == 0 ? 0 : (bucket >> (sub_bits + 1));
        const u64 low = u64(bucket & ((1u << (sub_bits + 1)) - 1)) << shift;
        return low + (1ull << shift) / 2;
    }
    u64 count_ = 0, sum_ = 0, min_ = ~0ull, max_ = 0;
    std::map<u32, u64> buckets_;  // ordered, so that quantiles and reports do not depend on the host
};

}  // namespace droste
