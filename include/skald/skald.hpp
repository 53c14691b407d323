// SPDX-License-Identifier: MIT
#pragma once
// Everything a program with a language model in it usually needs, on the CPU backend. Each header also stands alone.
#include <skald/attention/layer.hpp>
#include <skald/attention/variant.hpp>
#include <skald/backend/attention.hpp>
#include <skald/backend/cpu/cpu.hpp>
#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/core/executor.hpp>
#include <skald/core/logger.hpp>
#include <skald/core/memory.hpp>
#include <skald/core/random.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/io/gguf.hpp>
#include <skald/kv/any.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/kv/paged.hpp>
#include <skald/model/forward.hpp>
#include <skald/model/load.hpp>
#include <skald/model/model.hpp>
#include <skald/pipeline/pipeline.hpp>
#include <skald/sampling/sampling.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/tokenizer.hpp>
#include <skald/version.hpp>
