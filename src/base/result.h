// SPDX-License-Identifier: Apache-2.0
// Result: a value, or a sentence for the user that names the place and the remedy.
#pragma once
#include <string>
#include <utility>
#include <variant>

#include "base/assert.h"

namespace droste {

struct Error {
    std::string text;  ///< one sentence: what is wrong, where, and what to do
};

template <class T> class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
    explicit operator bool() const { return state_.index() == 0; }
    T& value() { ASSERT(*this); return std::get<0>(state_); }
    const T& value() const { ASSERT(*this); return std::get<0>(state_); }
    T& operator*() { return value(); }
    T* operator->() { return &value(); }
    const T& operator*() const { return value(); }
    const T* operator->() const { return &value(); }
    const Error& error() const { ASSERT(!*this); return std::get<1>(state_); }

private:
    std::variant<T, Error> state_;
};

/// Success, or an error.
class [[nodiscard]] Status {
public:
    Status() = default;
    Status(Error error) : error_(std::move(error)), failed_(true) {}
    explicit operator bool() const { return !failed_; }
    const Error& error() const { ASSERT(failed_); return error_; }

private:
    Error error_;
    bool failed_ = false;
};

}  // namespace droste
