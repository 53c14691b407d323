// SPDX-License-Identifier: MIT
#pragma once
// The values of a running template and the heap they live in. They behave as Python's: order of dicts kept, integers, floats and
// booleans apart, functions are values. Strings are counted; everything that can hold other values belongs to the heap and dies with
// the rendering, so that neither cycles nor deep nesting can hurt.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <skald/core/cold.hpp>
#include <skald/core/error.hpp>
#include <skald/text/jinja/limits.hpp>
#include <skald/text/jinja/marked_text.hpp>

SKALD_COLD_BEGIN

namespace skald::text::jinja {

class runtime;
class value;

/// A string: its text, and whether it is Python's Markup (the filter `safe` makes such).
struct string_object {
    marked_text text;
    bool safe = false;
};

enum class object_kind : std::uint8_t { sequence, dict, iterator, space, callable, loop };

/// Base of all that the heap owns.
struct object {
    explicit object(object_kind k) noexcept : kind(k) {}
    object(const object&) = delete;
    object& operator=(const object&) = delete;
    virtual ~object() = default;

    const object_kind kind;
};

struct none_type {};
/// The value of a name or attribute that is not there; `why` is said when it is used.
struct undefined_type {
    const std::string* why = nullptr;
};

class value {
public:
    using string_ref = std::shared_ptr<const string_object>;

    value() noexcept = default;  ///< None
    value(none_type) noexcept {}
    value(undefined_type u) noexcept : data_(u) {}
    value(bool b) noexcept : data_(b) {}
    value(std::int64_t n) noexcept : data_(n) {}
    value(double x) noexcept : data_(x) {}
    value(string_ref s) noexcept : data_(std::move(s)) {}
    value(object* o) noexcept : data_(o) {}
    value(const char*) = delete;

    bool is_none() const noexcept { return std::holds_alternative<none_type>(data_); }
    bool is_undefined() const noexcept { return std::holds_alternative<undefined_type>(data_); }
    bool is_bool() const noexcept { return std::holds_alternative<bool>(data_); }
    bool is_string() const noexcept { return std::holds_alternative<string_ref>(data_); }
    bool is_int() const noexcept { return std::holds_alternative<std::int64_t>(data_); }
    bool is_float() const noexcept { return std::holds_alternative<double>(data_); }
    bool is_integral() const noexcept { return is_int() || is_bool(); }  ///< Python's booleans are integers
    bool is_number() const noexcept { return is_integral() || is_float(); }

    const std::string* why() const noexcept { return std::get<undefined_type>(data_).why; }
    bool boolean() const { return std::get<bool>(data_); }
    std::int64_t integer() const { return is_bool() ? std::int64_t{boolean()} : std::get<std::int64_t>(data_); }
    double real() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }
    const marked_text& text() const { return std::get<string_ref>(data_)->text; }
    std::string_view view() const { return text().text(); }
    bool is_safe() const noexcept { return is_string() && std::get<string_ref>(data_)->safe; }
    const string_object* string_address() const { return std::get<string_ref>(data_).get(); }

    object* get_object() const noexcept {
        object* const* o = std::get_if<object*>(&data_);
        return o == nullptr ? nullptr : *o;
    }
    bool is(object_kind kind) const noexcept {
        const object* o = get_object();
        return o != nullptr && o->kind == kind;
    }
    /// The object as T if it is of T's kind, else null.
    template <class T>
    T* as() const noexcept {
        return is(T::own_kind) ? static_cast<T*>(get_object()) : nullptr;
    }

private:
    std::variant<none_type, undefined_type, bool, std::int64_t, double, string_ref, object*> data_;
};

enum class sequence_kind : std::uint8_t { list, tuple, range, keys, values, items };

/// A list, a tuple, a range or a view of a dict. With `fields`, a tuple whose first two items are the attributes grouper and list.
struct sequence : object {
    static constexpr object_kind own_kind = object_kind::sequence;
    sequence(sequence_kind k, std::vector<value> v, bool f = false) : object(own_kind), what(k), fields(f), items(std::move(v)) {}

    bool subscriptable() const noexcept { return what <= sequence_kind::range; }

    const sequence_kind what;
    const bool fields;
    std::vector<value> items;
};

/// A dict in the order of insertion. Keys are found by a text that equal keys share.
struct dict : object {
    static constexpr object_kind own_kind = object_kind::dict;
    dict() : object(own_kind) {}

    const value* find(const std::string& key_text) const {
        const auto at = places.find(key_text);
        return at == places.end() ? nullptr : &entries[at->second].second;
    }
    void set(std::string key_text, value key, value v) {
        const auto [at, is_new] = places.emplace(std::move(key_text), entries.size());
        if (is_new)
            entries.emplace_back(std::move(key), std::move(v));
        else
            entries[at->second].second = std::move(v);
    }

    std::vector<std::pair<value, value>> entries;
    std::unordered_map<std::string, std::size_t> places;
};

/// Gives values one after the other, once.
struct iterator : object {
    static constexpr object_kind own_kind = object_kind::iterator;
    iterator(std::string_view n, std::function<std::optional<value>()> f) : object(own_kind), name(n), next(std::move(f)) {}

    const std::string_view name;  ///< as Python calls it
    std::function<std::optional<value>()> next;
};

/// What namespace() makes: attributes that a template may set.
struct space : object {
    static constexpr object_kind own_kind = object_kind::space;
    explicit space(dict* d) : object(own_kind), members(d) {}

    dict* members;
};

/// The arguments of a call.
struct call_arguments {
    std::vector<value> positional;
    std::vector<std::pair<std::string, value>> named;

    /// Takes a named argument out.
    std::optional<value> take(std::string_view name) {
        for (auto at = named.begin(); at != named.end(); ++at)
            if (at->first == name) {
                value out = std::move(at->second);
                named.erase(at);
                return out;
            }
        return std::nullopt;
    }
};

/// Anything that can be called, with the attributes it has.
struct callable : object {
    static constexpr object_kind own_kind = object_kind::callable;
    callable() : object(own_kind) {}

    virtual std::string description() const = 0;  ///< as it is printed
    virtual value call(runtime&, call_arguments) = 0;
    virtual std::optional<value> attribute(runtime&, std::string_view) { return std::nullopt; }
};

/// A callable made of a function.
struct function final : callable {
    using body_type = std::function<value(runtime&, call_arguments&)>;
    function(std::string n, body_type f) : name(std::move(n)), body(std::move(f)) {}

    std::string description() const override { return concat("<function ", name, ">"); }
    value call(runtime& rt, call_arguments args) override { return body(rt, args); }

    const std::string name;
    const body_type body;
};

/// The heap of one rendering and its account of steps, memory and depth.
class runtime {
public:
    runtime(std::string_view name, const limits& most, const calendar_time& now) : name_(name), most_(most), now_(now) {}
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;

    const calendar_time& now() const noexcept { return now_; }
    void at_line(int line) noexcept { line_ = line; }
    int line() const noexcept { return line_; }

    /// Throws errc::invalid_argument: the template cannot be rendered with what it was given.
    template <class... Parts>
    [[noreturn]] void fail(const Parts&... parts) const {
        skald::fail(errc::invalid_argument, place(), parts...);
    }

    /// Accounts for work on so many bytes of text, or values.
    void work(std::size_t bytes) { step(1 + bytes / 16); }
    void step(std::size_t n = 1) {
        if (n > most_.steps - steps_) skald::fail(errc::bad_file, place(), "the template takes more than ", most_.steps, " steps");
        steps_ += n;
    }

    /// Refuses what would need more memory than is left, before it is built.
    void require(std::size_t count, std::size_t size = 1) const {
        if (size != 0 && count > (most_.bytes - used_) / size)
            skald::fail(errc::bad_file, place(), "the template needs more than ", most_.bytes, " bytes of memory");
    }

    /// An object of the heap; `extra` are the bytes it holds outside itself.
    template <class T, class... Args>
    T* make(std::size_t extra, Args&&... args) {
        take(sizeof(T) + sizeof(void*) + extra);
        objects_.push_back(std::make_unique<T>(std::forward<Args>(args)...));
        return static_cast<T*>(objects_.back().get());
    }

    value string(marked_text text, bool safe = false) {
        const std::size_t bytes = sizeof(string_object) + 32 + text.bytes();
        work(text.size());
        take(bytes);
        std::unique_ptr<string_object> made(new string_object{std::move(text), safe});
        return value(value::string_ref(made.release(), [this, bytes](const string_object* s) {
            used_ -= bytes;
            delete s;
        }));
    }
    value string(std::string text, bool trusted) { return string(marked_text(std::move(text), trusted)); }
    value literal(std::string_view text) { return string(std::string(text), true); }

    value make_sequence(sequence_kind kind, std::vector<value> items, bool fields = false) {
        const std::size_t n = items.capacity();
        step(1 + items.size() / 4);
        return make<sequence>(n * sizeof(value), kind, std::move(items), fields);
    }
    value list(std::vector<value> items) { return make_sequence(sequence_kind::list, std::move(items)); }
    value tuple(std::vector<value> items) { return make_sequence(sequence_kind::tuple, std::move(items)); }
    dict* make_dict() { return make<dict>(0); }

    /// Sets a member, with its memory accounted for.
    void set(dict& d, std::string key_text, value key, value v) {
        step();
        take(2 * sizeof(value) + 64 + key_text.size());
        d.set(std::move(key_text), std::move(key), std::move(v));
    }

    value undefined(std::string why) {
        take(sizeof(std::string) + why.size());
        reasons_.push_back(std::make_unique<const std::string>(std::move(why)));
        return value(undefined_type{reasons_.back().get()});
    }

    value make_function(std::string name, function::body_type body) { return make<function>(64, std::move(name), std::move(body)); }
    value make_iterator(std::string_view name, std::function<std::optional<value>()> next) {
        return make<iterator>(64, name, std::move(next));
    }

    /// One level deeper for as long as it lives.
    class level {
    public:
        explicit level(runtime& rt) : rt_(rt) {
            if (rt.depth_ >= rt.most_.depth)
                skald::fail(errc::bad_file, rt.place(), "the template nests deeper than ", rt.most_.depth, " levels");
            ++rt.depth_;
        }
        ~level() { --rt_.depth_; }
        level(const level&) = delete;
        level& operator=(const level&) = delete;

    private:
        runtime& rt_;
    };

    /// Makes an exception of an undefined value that is used.
    [[noreturn]] void fail_undefined(const value& v) const { fail(*v.why()); }

private:
    std::string place() const { return concat(name_, ", line ", line_); }

    void take(std::size_t bytes) {
        require(bytes);
        used_ += bytes;
    }

    std::string_view name_;
    const limits most_;
    const calendar_time now_;
    std::size_t steps_ = 0, used_ = 0;
    int line_ = 1, depth_ = 0;
    std::vector<std::unique_ptr<const std::string>> reasons_;
    std::vector<std::unique_ptr<object>> objects_;
};

/// The next value of an iterator. Iterators stand on one another, so that each counts as a level.
inline std::optional<value> advance(runtime& rt, iterator& i) {
    const runtime::level deeper(rt);
    rt.step();
    return i.next();
}

/// The arguments of a call by the names of the parameters; an empty name is one that goes by position only.
class parameters {
public:
    /// The first `required` must be given. Throws for what is missing, unknown or too much.
    parameters(runtime& rt, std::string_view function, call_arguments& args, std::initializer_list<std::string_view> names,
               std::size_t required = 0)
        : rt_(rt), function_(function), given_(names.size()) {
        if (args.positional.size() > names.size())
            rt.fail(function, "() takes ", names.size(), " arguments, but ", args.positional.size(), " are given");
        std::size_t i = 0;
        for (const std::string_view name : names) {
            auto by_name = name.empty() ? std::nullopt : args.take(name);
            if (i < args.positional.size()) {
                if (by_name) rt.fail(function, "() got two values for its argument '", name, "'");
                given_[i] = std::move(args.positional[i]);
            } else {
                given_[i] = std::move(by_name);
            }
            if (i < required && !given_[i]) rt.fail(function, "() misses its argument ", i + 1);
            ++i;
        }
        if (!args.named.empty()) rt.fail(function, "() has no argument '", args.named[0].first, "'");
    }

    bool has(std::size_t i) const { return given_[i].has_value(); }
    bool has_value(std::size_t i) const { return has(i) && !given_[i]->is_none(); }  ///< given, and not None
    const value& operator[](std::size_t i) const { return *given_[i]; }
    value get(std::size_t i, value otherwise) const { return has(i) ? *given_[i] : std::move(otherwise); }

    std::int64_t integer(std::size_t i, std::int64_t otherwise) const {
        if (!has(i)) return otherwise;
        if (given_[i]->is_undefined()) rt_.fail_undefined(*given_[i]);
        if (!given_[i]->is_integral()) rt_.fail(function_, "() needs an integer as argument ", i + 1);
        return given_[i]->integer();
    }

    const marked_text& text(std::size_t i) const {
        if (given_[i]->is_undefined()) rt_.fail_undefined(*given_[i]);
        if (!given_[i]->is_string()) rt_.fail(function_, "() needs a string as argument ", i + 1);
        return given_[i]->text();
    }

private:
    runtime& rt_;
    std::string_view function_;
    std::vector<std::optional<value>> given_;
};

}  // namespace skald::text::jinja

SKALD_COLD_END
