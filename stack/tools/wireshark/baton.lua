-- Reads what Baton's nodes say to each other, in Wireshark and tshark (4.0 and later):
--
--     wireshark -X lua_script:stack/tools/wireshark/baton.lua CAPTURE
--
-- HELLO is in clear. A sealed datagram is shown as what it is; `tcb unseal` makes a capture of it whose datagrams can be read. The layout of
-- everything is in docs/handoff.md, sections 2 to 5. A new message, part or field is a word in the tables FIELDS, MESSAGES and PARTS below; the
-- test stack/tools/tests/wireshark.rs fails as long as it is missing.
--
-- One file on purpose: it is installed by copying it to Wireshark's plugin folder, or named on the command line as above. A second one would have to be
-- found from there, and Wireshark runs every file of that folder by itself. The first half is tables, the second reads by them.

local MAGIC, PORT = 0xba70, 9910
local HEADER_BYTES, SEAL_BYTES, HELLO_TAG_BYTES = 28, 16, 32
local MUST_KNOW, MUST_UNDERSTAND = 1, 0x8000
local NAME_BYTES_MAX = 63
local IMAGE_BYTES_MAX = 8 * 1024 * 1024
-- Images of which some parts have come, at the most. Beyond it the oldest is forgotten.
local PARTIAL_IMAGES_MAX = 4096

local HELLO, SEALED, UNSEALED = 1, 2, 255

-- Values of one byte. Any other is malformed.
local KINDS = { [HELLO] = "HELLO", [SEALED] = "sealed", [UNSEALED] = "unsealed" }
local ROLES = { [1] = "front-end", [2] = "back-end" }
local DRAINS = { [0] = "serving", [1] = "draining", [2] = "stopping" }
local REASONS = {
    [1] = "overload", [2] = "limit", [3] = "too large", [4] = "version", [5] = "malformed", [6] = "draining", [7] = "revoked",
    [8] = "incomplete", [9] = "content differs", [10] = "content unknown",
}
local CLAIMS = { [1] = "kept", [2] = "lost" }
local ENDS = {
    [1] = "both closed, we first", [2] = "both closed, the client first", [3] = "reset by the client", [4] = "reset by us", [5] = "timed out",
}
local BOOLS = { [0] = "no", [1] = "yes" }
local KEY_BITS = { [0] = "whole", [1] = "cut", [2] = "may be prepared", [3] = "cut, may be prepared" }
local FAMILIES = { [4] = "IPv4", [6] = "IPv6" }
local STATES = {
    [2] = "ESTABLISHED", [3] = "FIN-WAIT-1", [4] = "FIN-WAIT-2", [5] = "CLOSE-WAIT", [6] = "CLOSING", [7] = "LAST-ACK", [8] = "TIME-WAIT",
}
local ALGORITHMS = { [1] = "NewReno", [2] = "CUBIC" }
local PHASES = { [0] = "open", [1] = "fast recovery", [2] = "after a timeout" }
local PROBES = { [0] = "none", [1] = "due", [2] = "something new is on its way", [3] = "something old is on its way" }

-- Bits of one byte, the lowest first.
local BLOCK_FLAGS = { "SACK", "timestamps", "window scaling", "our FIN is queued", "the client's FIN is known", "ACK due", "probe due",
    "reordering seen" }
local SIGNAL_FLAGS = { "ECN", "ECE due", "CWR due", "point", "short segment", "our urgent pointer", "the client's urgent pointer" }
local FLIGHT_FLAGS = { "force", "DSACK round", "boundary" }
local UNDO_FLAGS = { "until", "stamp" }
local RESUME_FLAGS = { "Keep-alive", "Chunked" }
local PATH_FLAGS = { "sizing", "claim" }
local CURSOR_FLAGS = { "keep-alive", "100 Continue due" }
local MARKS = { "SACKed", "lost", "sent again" }

-- Types with a length of their own: bytes, ftype, base.
local TYPES = {
    u8 = { 1, ftypes.UINT8, base.DEC },
    u16 = { 2, ftypes.UINT16, base.DEC },
    u32 = { 4, ftypes.UINT32, base.DEC },
    u64 = { 8, ftypes.UINT64, base.DEC },
    hex16 = { 2, ftypes.UINT16, base.HEX },
    hex64 = { 8, ftypes.UINT64, base.HEX },
    -- Microseconds; all bits set: there is none.
    time = { 8, ftypes.UINT64, base.DEC },
    -- A node's number, with its name if a LEASE in the capture has told it.
    node = { 2, ftypes.UINT16, base.DEC },
    mac = { 6, ftypes.ETHER, base.NONE },
    bytes16 = { 16, ftypes.BYTES, base.NONE },
    tag32 = { 32, ftypes.BYTES, base.NONE },
    reserved1 = { 1, ftypes.BYTES, base.NONE },
    reserved2 = { 2, ftypes.BYTES, base.NONE },
    reserved3 = { 3, ftypes.BYTES, base.NONE },
    -- A length of two bytes in front; a name has 1 to 63.
    blob = { nil, ftypes.BYTES, base.NONE },
    text = { nil, ftypes.STRING, base.NONE },
    name = { nil, ftypes.STRING, base.NONE },
    -- All that is left.
    rest = { nil, ftypes.BYTES, base.NONE },
    -- A family, then the address: two fields of one name.
    addr = { nil },
    -- Of an image's head: 16 bytes, of which an IPv4 address takes the first four.
    padded = { nil },
}

-- What is said: field = { type, title, name in filters if it is another }. The type is a name of TYPES, a table of values, or bits.
local FIELDS = {
    -- The header.
    version = { "u8", "Version" },
    kind = { KINDS, "Kind" },
    sender_boot = { "u32", "Sender's boot" },
    receiver_boot = { "u32", "Receiver's boot" },
    sender_core = { "u8", "Sender's core" },
    receiver_core = { "u8", "Receiver's core" },
    session = { "hex16", "Session tag" },
    sent_ms = { "u32", "Sent (ms)" },
    counter = { "u64", "Counter" },
    -- HELLO.
    version_min = { "u8", "Version, from" },
    version_max = { "u8", "Version, to" },
    role = { ROLES, "Role" },
    cores = { "u8", "Cores" },
    datagram_bytes = { "u16", "Longest datagram" },
    sender = { "name", "Sender" },
    receiver = { "name", "Receiver" },
    challenge = { "bytes16", "Challenge" },
    echo = { "bytes16", "Echo" },
    wants_answer = { BOOLS, "Wants an answer" },
    -- Connections, epochs, lives.
    c = { "hex64", "Connection", "conn" },
    e = { "u32", "Epoch", "epoch" },
    base = { "u32", "Donor's epoch" },
    e2 = { "u32", "Epoch of the attempt" },
    tried = { "u32", "Tried" },
    g = { "hex64", "Generation", "generation" },
    boot = { "u32", "Boot" },
    number = { "u32", "Number" },
    n = { "u32", "Request" },
    strip = { "u16", "Strip" },
    to = { "node", "To" },
    node = { "node", "Node" },
    -- Leases.
    you = { "node", "You are" },
    lease_ms = { "u32", "Lease (ms)" },
    drain = { DRAINS, "Drain" },
    route_version = { "u32", "Route table version" },
    peers_version = { "u32", "Node list version" },
    peers_total = { "u16", "Nodes in all" },
    peers_first = { "u16", "First node" },
    load_connections = { "u32", "Connections" },
    load_requests = { "u64", "Requests" },
    load_bytes = { "u64", "Response bytes" },
    busy_permille = { "u16", "Busy (thousandths)" },
    peer_id = { "node", "Id", "peer.id" },
    peer_g = { "hex64", "Generation", "peer.generation" },
    peer_core = { "u8", "Core", "peer.core" },
    peer_addr = { "addr", "Address", "peer.addr" },
    peer_mac = { "mac", "Ethernet address", "peer.mac" },
    peer_name = { "name", "Name", "peer.name" },
    -- Requests.
    key_bits = { KEY_BITS, "Key", "key.bits" },
    method = { "text", "Method", "key.method" },
    host = { "text", "Host", "key.host" },
    target = { "text", "Path and query", "key.target" },
    status = { "u16", "Status" },
    retry_after_s = { "u16", "Retry after (s)" },
    -- Moves.
    total = { "u32", "Image length" },
    part_bytes = { "u16", "Part length" },
    part = { "u16", "Part" },
    part_data = { "blob", "Bytes of the part" },
    missing = { "u16", "First missing part" },
    beyond = { "bytes16", "Beyond it" },
    reason = { REASONS, "Reason" },
    claim = { CLAIMS, "Claim" },
    client_addr = { "addr", "Client", "client.addr" },
    client_port = { "u16", "Client's port", "client.port" },
    vip_addr = { "addr", "VIP", "vip.addr" },
    vip_port = { "u16", "VIP's port", "vip.port" },
    -- Tails.
    start = { "u64", "Start" },
    len = { "u32", "Length" },
    tail_data = { "blob", "Bytes" },
    up_to = { "u64", "Up to" },
    -- The end.
    snd_nxt = { "u32", "SND.NXT" },
    rcv_nxt = { "u32", "RCV.NXT" },
    ts_val = { "u32", "Last TSval" },
    ts_recent = { "u32", "TS.Recent" },
    ended = { ENDS, "Ended" },
    served_requests = { "u32", "Requests served" },
    served_bytes = { "u64", "Bytes served" },
}

-- In a layout: `?a+b` a byte that says whether a and b are there; `*group` a count of two bytes and as many groups.
local HEADER = "version kind sender_boot receiver_boot sender_core receiver_core session sent_ms counter"
local HELLO_FIELDS = "version_min version_max role cores datagram_bytes sender receiver challenge ?echo wants_answer"
local GROUPS = { peer = { "Node", "peer_id peer_g peer_core peer_addr peer_mac peer_name" } }
local KEY = " key_bits method host target"

-- Kind = { name, layout, what the info column says }.
local MESSAGES = {
    [1] = { "JOIN", "number boot g", "#{number}" },
    [2] = { "LEASE-REQ", "number boot g peers_version route_version load_connections load_requests load_bytes busy_permille", "#{number}" },
    [3] = { "LEASE", "number boot g you lease_ms drain route_version peers_version peers_total peers_first *peer", "#{number} {lease_ms} ms" },
    [8] = { "ASK", "c e tried n" .. KEY, "c={c} e={e} n={n} {target}" },
    [9] = { "STAY", "c e n strip", "c={c} e={e} n={n}" },
    [10] = { "GRANT", "c base e2 to g n ?strip", "c={c} {base}->{e2} {to}" },
    [11] = { "FORWARD", "c e n node strip", "c={c} e={e} n={n} {node}" },
    [12] = { "REJECT", "c e n status retry_after_s strip", "c={c} e={e} n={n} {status}" },
    [13] = { "PREFETCH", "c e2 g n strip" .. KEY, "c={c} e2={e2} n={n} {target}" },
    [14] = { "MOVE-ASK", "c e tried n to", "c={c} e={e} {to}" },
    [15] = { "MOVE-REJECT", "c e n to", "c={c} e={e} {to}" },
    [16] = { "HANDOFF", "c base e2 g total part_bytes part part_data", "c={c} {base}->{e2} part {part}, {total} bytes" },
    [17] = { "PART-ACK", "c e2 g missing beyond", "c={c} e2={e2} missing {missing}" },
    [18] = { "INSTALLED", "c e2 g", "c={c} e2={e2}" },
    [19] = { "ROUTED", "c e2", "c={c} e2={e2}" },
    [20] = { "DONE", "c e2", "c={c} e2={e2}" },
    [21] = { "REFUSED", "c e2 g reason", "c={c} e2={e2} {reason}" },
    [22] = { "MOVE-WISH", "c e to", "c={c} e={e} {to}" },
    [24] = { "ABORT", "c base e2 to g", "c={c} {base}->{e2} {to}" },
    [25] = { "THAW", "c e2", "c={c} e2={e2}" },
    [26] = { "ATTEMPT-GONE", "c e2", "c={c} e2={e2}" },
    [27] = { "REVOKE", "c e2 g client_addr client_port vip_addr vip_port", "c={c} e2={e2}" },
    [28] = { "REVOKED", "c e2 g", "c={c} e2={e2}" },
    [29] = { "SETTLE", "c base e2 to g", "c={c} {base}->{e2} {to}" },
    [30] = { "SETTLED", "c e2 claim", "c={c} e2={e2} {claim}" },
    [40] = { "FETCH", "c e start len", "c={c} e={e} {start} +{len}" },
    [41] = { "TAIL", "c e start tail_data", "c={c} e={e} {start}" },
    [42] = { "TAIL-GONE", "c e start len", "c={c} e={e} {start} +{len}" },
    [43] = { "RELEASE", "c e up_to", "c={c} e={e} {up_to}" },
    [44] = { "RELEASED", "c e up_to", "c={c} e={e} {up_to}" },
    [45] = { "TAIL-KEPT", "c", "c={c}" },
    [48] = { "CLOSED", "c e snd_nxt rcv_nxt ?ts_val+ts_recent ended served_requests served_bytes", "c={c} e={e} {ended}" },
    [49] = { "CLOSED-ACK", "c", "c={c}" },
    [50] = { "OVER", "c", "c={c}" },
}

-- The image. Here a word is field:type, a number being an integer of as many bytes; its filter is baton.image.field.
local IMAGE_TYPES = {
    ["1"] = "u8", ["2"] = "u16", ["4"] = "u32", ["8"] = "u64", time = "time", mac = "mac", conn = "hex64", padded = "padded", rest = "rest",
    reserved1 = "reserved1", reserved2 = "reserved2", reserved3 = "reserved3", bytes32 = "tag32",
    resume_flags = { bits = RESUME_FLAGS }, family = FAMILIES, state = STATES, algorithm = ALGORITHMS,
    phase = PHASES, probe_kind = PROBES, block_flags = { bits = BLOCK_FLAGS }, signal_flags = { bits = SIGNAL_FLAGS },
    flight_flags = { bits = FLIGHT_FLAGS }, undo_flags = { bits = UNDO_FLAGS }, path_flags = { bits = PATH_FLAGS },
    cursor_flags = { bits = CURSOR_FLAGS }, marks = { bits = MARKS },
}
local GROWTH = " growth_0:4 growth_1:4 growth_2:4 growth_3:4 growth_4:4 epoch_age:time "
local IMAGE = {
    { "Head", "image_version:1 family:family next_hop:mac conn:conn base:4 epoch:4 tried:4 served_requests:4 served_bytes:8 "
        .. "client_addr:padded vip_addr:padded client_port:2 vip_port:2" },
    { "Block", "state:state flags:block_flags snd_scale:1 rcv_scale:1 snd_mss:2 rcv_mss:2 iss:4 snd_una:4 snd_nxt:4 snd_wnd:4 snd_wl1:4 "
        .. "snd_wl2:4 max_wnd:4 irs:4 rcv_nxt:4 rcv_edge:4 rcv_latest:4 rcv_fin:4 tsval:4 ts_recent:4 ts_recent_age:time last_ack_sent:4 "
        .. "srtt_us:4 rttvar_us:4 backoff:1 unanswered:1 unacked_segments:1 reo_wnd_wider:1 cwnd:4 ssthresh:4 algorithm:algorithm "
        .. "reo_wnd_persist:1 path_confirmed:2" .. GROWTH .. "rack_rtt_us:4 min_rtt_us:4 min_rtt_age:time persist:time delayed_ack:time "
        .. "keepalive:time fin_wait_2:time sent_age:time heard_age:time waiting_age:time snd_place:8" },
    { "Cursor", "cursor_version:1 cursor_phase:1 cursor_flags:cursor_flags digits:1 ordinal:4 value:8 payload_bytes:8 extension:2 trailer:2 "
        .. "cursor_reserved:4" },
}
-- Kind = { name, layout, whether it is there as often as it fits }.
local PARTS = {
    [0x8001] = { "Unread", "unread:rest" },
    [0x8002] = { "Out of order", "out_of_order_seq:4 out_of_order:rest" },
    [0x8003] = { "Bytes", "bytes:rest" },
    [0x8004] = { "Remote", "holder:2 offset:8 length:8" },
    [0x8005] = { "Sent", "run_end:4 run_age:4 run_marks:marks", "Run" },
    [0x8006] = { "Plan", "plan_n:4 plan_strip:2", "Request" },
    [0x8007] = { "Flight", "phase:phase dup_acks:1 flight_flags:flight_flags probe_kind:probe_kind recovery_point:4 probe_end:4 newest_end:4 "
        .. "newest_age:time dsack_round:4 boundary:4 timed_seq:4 timed_age:time retransmit:time reorder:time probe:time prr_delivered:4 "
        .. "prr_out:4 prr_flight:4" },
    [0x8008] = { "Undo", "undo_algorithm:algorithm undo_flags:undo_flags undo_reserved:reserved2 pipe_prev:4" .. GROWTH
        .. "undo_from:4 undo_until:4 undo_stamp:4 undo_again:4 undo_needless:4" },
    [0x8009] = { "Response", "resume_n:4 resume_status:2 resume_flags:resume_flags resume_reserved:reserved1 resume_first:8 resume_length:8 "
        .. "resume_offset:8 validator:bytes32 resume_name:rest" },
    [0x8010] = { "Signals", "signal_flags:signal_flags signals_reserved:reserved3 point:4 small:4 snd_urgent:4 rcv_urgent:4" },
    [0x8011] = { "Window", "window_grown:4 window_rtt_us:4 window_from:4 window_age:time" },
    [0x8012] = { "Path", "path_mtu:2 path_flags:path_flags path_reserved:reserved1 sizing_end:4 sizing_len:2 claim_seq:4 claim_mtu:2 "
        .. "raise:time" },
    [0x8013] = { "Slow start", "start_end:4 start_last_us:4 start_least_us:4 start_baseline_us:4 start_samples:1 start_rounds:1 "
        .. "start_reserved:reserved2" },
}

-- From here on nothing knows a message or a part by name, but for the image that a HANDOFF brings and the names that a LEASE tells.

local baton = Proto("baton", "Baton handoff protocol")
local known = {}

local function own(field)
    table.insert(known, field)
    return field
end

-- Registers a field once; two words may share a filter if they are of one type.
local function register(word, kind, title, abbr)
    local entry = { kind = kind, word = word }
    if kind == "addr" or kind == "padded" then
        entry.v4, entry.v6 = own(ProtoField.ipv4(abbr, title)), own(ProtoField.ipv6(abbr .. "6", title))
    elseif type(kind) == "table" and kind.bits then
        entry.kind, entry.bits, entry.masks = "u8", kind.bits, {}
        entry.field = own(ProtoField.uint8(abbr, title, base.HEX))
        for at, name in ipairs(kind.bits) do
            local mask = bit32.lshift(1, at - 1)
            entry.masks[at] = own(ProtoField.bool(abbr .. "." .. name:lower():gsub("[^%w]+", "_"), name, 8, nil, mask))
        end
    elseif type(kind) == "table" then
        entry.kind, entry.values = "u8", kind
        entry.field = own(ProtoField.uint8(abbr, title, base.DEC, kind))
    else
        local _, ftype, form = table.unpack(TYPES[kind], 1, 3)
        entry.field = own(ProtoField.new(title, abbr, ftype, nil, form))
    end
    entry.size = entry.kind and TYPES[entry.kind][1]
    return entry
end

-- A layout as a list of steps.
local function compile(layout, lookup)
    local steps = {}
    for word in layout:gmatch("%S+") do
        if word:sub(1, 1) == "?" then
            local inner = {}
            for name in word:sub(2):gmatch("[^+]+") do
                table.insert(inner, lookup(name))
            end
            table.insert(steps, { optional = inner })
        elseif word:sub(1, 1) == "*" then
            local title, inner = table.unpack(GROUPS[word:sub(2)])
            table.insert(steps, { list = compile(inner, lookup), title = title })
        else
            table.insert(steps, lookup(word))
        end
    end
    return steps
end

local fields = {}
for word, row in pairs(FIELDS) do
    local kind, title, abbr = table.unpack(row, 1, 3)
    fields[word] = register(word, kind, title, "baton." .. (abbr or word))
end

local function message_field(word)
    return fields[word] or error("no field is called " .. word)
end

local image_fields = {}
local function image_field(word)
    local name, kind = word:match("^([%w_]+):([%w_]+)$")
    local resolved = IMAGE_TYPES[kind] or error("no type is called " .. tostring(kind))
    if not image_fields[name] then
        image_fields[name] = register(name, resolved, name, "baton.image." .. name)
    end
    return image_fields[name]
end

local header_steps = compile(HEADER, message_field)
local hello_steps = compile(HELLO_FIELDS, message_field)

-- Names and layouts of the rows of a table.
local function compile_all(rows, lookup)
    local names, steps = {}, {}
    for key, row in pairs(rows) do
        names[key], steps[key] = row[1], compile(row[2], lookup)
    end
    return names, steps
end

local message_names, message_steps = compile_all(MESSAGES, message_field)
local image_names, image_steps = compile_all(IMAGE, image_field)
local part_names, part_steps = compile_all(PARTS, image_field)

local FIELD_MESSAGE = own(ProtoField.uint8("baton.message", "Message", base.DEC, message_names))
local FIELD_FLAGS = own(ProtoField.uint8("baton.flags", "Flags", base.HEX))
local FIELD_LENGTH = own(ProtoField.uint16("baton.length", "Length of the body", base.DEC))
local FIELD_SEALED = own(ProtoField.bytes("baton.sealed", "Sealed"))
local FIELD_SEAL = own(ProtoField.bytes("baton.seal", "Seal"))
local FIELD_HELLO_TAG = own(ProtoField.bytes("baton.hello_tag", "Tag"))
local FIELD_OPTION = own(ProtoField.uint8("baton.option", "There", base.DEC, BOOLS))
local FIELD_COUNT = own(ProtoField.uint16("baton.count", "How many", base.DEC))
local FIELD_BYTES_LEN = own(ProtoField.uint16("baton.bytes_length", "Length", base.DEC))
local FIELD_FAMILY = own(ProtoField.uint8("baton.family", "Family", base.DEC, FAMILIES))
local FIELD_PADDING = own(ProtoField.bytes("baton.padding", "Padding"))
local FIELD_PART_KIND = own(ProtoField.uint16("baton.image.part", "Part", base.HEX, part_names))
local FIELD_PART_LENGTH = own(ProtoField.uint32("baton.image.part_length", "Length", base.DEC))
local FIELD_PART_VALUE = own(ProtoField.bytes("baton.image.part_value", "Value"))
local FIELD_WHOLE_IN = own(ProtoField.framenum("baton.image.whole_in", "The image is whole in", base.NONE))
baton.fields = known

local EXPERT_MALFORMED = ProtoExpert.new("baton.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
local EXPERT_UNKNOWN = ProtoExpert.new("baton.unknown", "Unknown", expert.group.UNDECODED, expert.severity.WARN)
local EXPERT_SEALED = ProtoExpert.new("baton.is_sealed", "Sealed: tcb unseal opens it", expert.group.DECRYPTION, expert.severity.CHAT)
baton.experts = { EXPERT_MALFORMED, EXPERT_UNKNOWN, EXPERT_SEALED }

-- What a capture tells: node names by front-end, and images by attempt. `whole` and `later` are kept by frame, since frames are looked at often.
local node_names, partial, partial_order, whole, whole_in

function baton.init()
    node_names, partial, partial_order, whole, whole_in = {}, {}, {}, {}, {}
end

local function malformed(sentence)
    error({ sentence = sentence }, 0)
end

-- Bytes from `at` to before `stop`.
local function cursor_of(tvb, at, stop)
    return { tvb = tvb, at = at, stop = stop }
end

local function left(cursor)
    return cursor.stop - cursor.at
end

local function take(cursor, len)
    if len > left(cursor) then
        malformed("it ends too early")
    end
    local range = cursor.tvb(cursor.at, len)
    cursor.at = cursor.at + len
    return range
end

-- As many of the next bytes as `len` says.
local function split_off(cursor, len, sentence)
    local inner = cursor_of(cursor.tvb, cursor.at, cursor.at + len:uint())
    if inner.stop > cursor.stop then
        malformed(sentence)
    end
    cursor.at = inner.stop
    return inner
end

local function address(range, family)
    return family == 4 and tostring(range:ipv4()) or tostring(range:ipv6())
end

local function name_of(context, id)
    for _, front_end in ipairs({ context.src, context.dst }) do
        local name = node_names[front_end] and node_names[front_end][id]
        if name then
            return name
        end
    end
end

local function must_be_zero(range, sentence)
    if range:bytes():tohex():find("[^0]") then
        malformed(sentence)
    end
end

local readers = {}

function readers.addr(step, cursor, tree)
    local from = take(cursor, 1)
    local family = from:uint()
    if not FAMILIES[family] then
        malformed("an address of family " .. family)
    end
    tree:add(FIELD_FAMILY, from)
    local range = take(cursor, family == 4 and 4 or 16)
    tree:add(family == 4 and step.v4 or step.v6, range)
    return address(range, family)
end

function readers.padded(step, cursor, tree, context)
    if context.values.family ~= 4 then
        tree:add(step.v6, take(cursor, 16))
        return
    end
    tree:add(step.v4, take(cursor, 4))
    local padding = take(cursor, 12)
    tree:add(FIELD_PADDING, padding)
    must_be_zero(padding, "an IPv4 address is not padded with zeros")
end

function readers.rest(step, cursor, tree)
    if left(cursor) > 0 then
        tree:add(step.field, take(cursor, left(cursor)))
    end
end

local function counted(step, cursor, tree)
    local from = take(cursor, 2)
    tree:add(FIELD_BYTES_LEN, from)
    local len = from:uint()
    if len == 0 then
        return nil, len
    end
    local range = take(cursor, len)
    tree:add(step.field, range)
    return range, len
end

readers.blob = counted

function readers.text(step, cursor, tree)
    local range = counted(step, cursor, tree)
    return range and range:string() or ""
end

function readers.name(step, cursor, tree)
    local range, len = counted(step, cursor, tree)
    if len == 0 or len > NAME_BYTES_MAX then
        malformed("a name of " .. len .. " bytes")
    end
    return range:string()
end

local function plain(step, cursor, tree, context)
    local range = take(cursor, step.size)
    local item = tree:add(step.field, range)
    if step.kind == "node" then
        local name = name_of(context, range:uint())
        context.values[step.word .. "_number"] = range:uint()
        if name then
            item:append_text(" (" .. name .. ")")
        end
        return name or "node " .. range:uint()
    elseif step.kind == "hex64" then
        return range:uint64():tohex()
    elseif step.kind == "time" then
        if range:uint64() == UInt64.new(0xffffffff, 0xffffffff) then
            item:append_text(" (none)")
        end
    elseif step.size == 8 then
        return tostring(range:uint64())
    elseif step.kind:find("^reserved") then
        must_be_zero(range, "reserved bytes are not zero")
    elseif step.bits then
        for at = 1, #step.bits do
            item:add(step.masks[at], range)
        end
        if bit32.rshift(range:uint(), #step.bits) ~= 0 then
            malformed("unknown bits of " .. step.word)
        end
    elseif step.size <= 4 then
        local value = range:uint()
        if step.values and not step.values[value] then
            malformed("no " .. step.word .. " has the value " .. value)
        end
        context.shown[step.word] = step.values and step.values[value]
        return value
    end
    return range
end

local run

local function one(step, cursor, tree, context)
    if step.optional then
        local range = take(cursor, 1)
        tree:add(FIELD_OPTION, range)
        if range:uint() > 1 then
            malformed("neither there nor missing")
        elseif range:uint() == 1 then
            run(step.optional, cursor, tree, context)
        end
    elseif step.list then
        local range = take(cursor, 2)
        tree:add(FIELD_COUNT, range)
        for _ = 1, range:uint() do
            local group = tree:add(cursor.tvb(cursor.at, 0), step.title)
            local inner = { values = {}, shown = {}, src = context.src, dst = context.dst }
            run(step.list, cursor, group, inner)
            table.insert(context.groups, inner.values)
        end
    else
        context.values[step.word] = (readers[step.kind] or plain)(step, cursor, tree, context)
    end
end

-- Reads fields into `tree`; their values are then in `context`.
function run(steps, cursor, tree, context)
    for _, step in ipairs(steps) do
        one(step, cursor, tree, context)
    end
end

-- Runs `read`; what is malformed becomes an expert's word at `tree`, and true is returned if nothing was.
local function guarded(tree, read)
    local ok, wrong = pcall(read)
    if not ok then
        tree:add_proto_expert_info(EXPERT_MALFORMED, "Malformed: " .. (type(wrong) == "table" and wrong.sentence or tostring(wrong)))
    end
    return ok
end

-- What nobody here knows is malformed if it must be `known` or `understood`.
local function unknown(tree, what, must)
    tree:add_proto_expert_info(must and EXPERT_MALFORMED or EXPERT_UNKNOWN, "Unknown " .. what .. (must and " that must be " .. must or ""))
end

local function context_of(pinfo)
    return { values = {}, shown = {}, groups = {}, src = tostring(pinfo.src), dst = tostring(pinfo.dst) }
end

local function dissect_part(cursor, tree, context)
    local start = cursor.at
    local kind, len = take(cursor, 2), take(cursor, 4)
    local value = split_off(cursor, len, "a part ends behind the image")
    local row, steps = PARTS[kind:uint()], part_steps[kind:uint()]
    local branch = tree:add(cursor.tvb(start, value.stop - start), "Part: " .. (row and row[1] or "unknown"))
    branch:add(FIELD_PART_KIND, kind)
    branch:add(FIELD_PART_LENGTH, len)
    if not row then
        if left(value) > 0 then
            branch:add(FIELD_PART_VALUE, take(value, left(value)))
        end
        unknown(branch, "part", kind:uint() >= MUST_UNDERSTAND and "understood")
        return
    end
    repeat
        local group = row[3] and branch:add(cursor.tvb(value.at, 0), row[3]) or branch
        run(steps, value, group, context)
    until not row[3] or left(value) == 0
    if left(value) > 0 then
        malformed("a part is longer than it is")
    end
end

local function dissect_image(tvb, tree, pinfo, attempt)
    local branch = tree:add(tvb(), "Image, " .. tvb:len() .. " bytes")
    guarded(branch, function()
        local cursor, context = cursor_of(tvb, 0, tvb:len()), context_of(pinfo)
        for at, steps in ipairs(image_steps) do
            local start = cursor.at
            local section = branch:add(tvb(start), image_names[at])
            run(steps, cursor, section, context)
            section:set_len(cursor.at - start)
        end
        if context.values.image_version ~= 1 then
            malformed("an image of version " .. context.values.image_version)
        elseif context.values.conn ~= attempt.c or context.values.epoch ~= attempt.e2 then
            malformed("the image is of another attempt than its HANDOFF")
        end
        while left(cursor) > 0 do
            dissect_part(cursor, branch, context)
        end
    end)
end

-- Puts parts together. Returns the image's bytes in the frame that completes it, and that frame's number if it is known.
local function assemble(values, pinfo, context)
    local attempt = table.concat({ context.src, context.dst, values.c, values.e2, values.total, values.part_bytes }, " ")
    local place = pinfo.number .. " " .. attempt .. " " .. values.part
    if not pinfo.visited and not whole_in[attempt] and values.part_data then
        if not partial[attempt] then
            partial[attempt] = { count = 0, parts = {} }
            table.insert(partial_order, attempt)
            if #partial_order > PARTIAL_IMAGES_MAX then
                partial[table.remove(partial_order, 1)] = nil
            end
        end
        local image = partial[attempt]
        if not image.parts[values.part] then
            image.parts[values.part] = values.part_data:bytes()
            image.count = image.count + 1
        end
        if image.count == math.ceil(values.total / values.part_bytes) then
            local bytes = ByteArray.new()
            for part = 0, image.count - 1 do
                if not image.parts[part] then
                    malformed("a part behind the image's end")
                end
                bytes:append(image.parts[part])
            end
            whole[place], whole_in[attempt], partial[attempt] = bytes, pinfo.number, nil
        end
    end
    return whole[place], whole_in[attempt]
end

local function dissect_handoff(values, tree, pinfo, context)
    if values.part_bytes == 0 or values.total == 0 or values.total > IMAGE_BYTES_MAX then
        malformed("an image of " .. values.total .. " bytes in parts of " .. values.part_bytes)
    end
    if values.part == 0 and values.total <= values.part_bytes then
        if not values.part_data or values.part_data:len() ~= values.total then
            malformed("a part of another length than the image")
        end
        dissect_image(values.part_data:bytes():tvb("Image"), tree, pinfo, values)
        return
    end
    local bytes, frame = assemble(values, pinfo, context)
    if bytes then
        if bytes:len() ~= values.total then
            malformed("parts of " .. bytes:len() .. " bytes together")
        end
        dissect_image(bytes:tvb("Image"), tree, pinfo, values)
    elseif frame then
        tree:add(FIELD_WHOLE_IN, frame):set_generated()
    end
end

local function learn_names(groups, context)
    local names = node_names[context.src] or {}
    for _, peer in ipairs(groups) do
        names[peer.peer_id_number] = peer.peer_name
    end
    node_names[context.src] = names
end

local function info_of(kind, context)
    return (MESSAGES[kind][3]:gsub("{(%w+)}", function(word)
        return tostring(context.shown[word] or context.values[word] or "?")
    end))
end

local function dissect_message(cursor, tree, pinfo)
    local start = cursor.at
    local kind, flags, len = take(cursor, 1), take(cursor, 1), take(cursor, 2)
    local body = split_off(cursor, len, "a message ends behind its datagram")
    local row = MESSAGES[kind:uint()]
    local branch = tree:add(cursor.tvb(start, body.stop - start), row and row[1] or "Unknown message")
    branch:add(FIELD_MESSAGE, kind)
    branch:add(FIELD_FLAGS, flags)
    branch:add(FIELD_LENGTH, len)
    if not row then
        unknown(branch, "message", bit32.band(flags:uint(), MUST_KNOW) ~= 0 and "known")
        return "kind " .. kind:uint()
    end
    local context, info = context_of(pinfo), ""
    local ok = guarded(branch, function()
        run(message_steps[kind:uint()], body, branch, context)
        if left(body) > 0 then
            malformed(left(body) .. " bytes too many")
        end
        if row[1] == "HANDOFF" then
            dissect_handoff(context.values, branch, pinfo, context)
        elseif row[1] == "LEASE" then
            learn_names(context.groups, context)
        end
        info = " " .. info_of(kind:uint(), context)
        branch:append_text(info)
    end)
    return row[1] .. (ok and info or " (malformed)")
end

local function dissect_hello(cursor, tree, pinfo)
    local context = context_of(pinfo)
    run(hello_steps, cursor, tree, context)
    if left(cursor) ~= HELLO_TAG_BYTES then
        malformed("a tag of " .. left(cursor) .. " bytes")
    end
    tree:add(FIELD_HELLO_TAG, take(cursor, HELLO_TAG_BYTES))
    local values = context.values
    return string.format("%s %s -> %s", values.echo and "HELLO-ACK" or "HELLO", values.sender, values.receiver)
end

local function dissect_sealed(cursor, tree)
    if left(cursor) < SEAL_BYTES then
        malformed("no room for a seal")
    end
    local len = left(cursor) - SEAL_BYTES
    if len > 0 then
        tree:add(FIELD_SEALED, take(cursor, len))
    end
    tree:add(FIELD_SEAL, take(cursor, SEAL_BYTES))
    tree:add_proto_expert_info(EXPERT_SEALED)
    return "sealed, " .. len .. " bytes"
end

local function dissect_messages(cursor, tree, pinfo)
    local infos = {}
    while left(cursor) > 0 do
        table.insert(infos, dissect_message(cursor, tree, pinfo))
    end
    return table.concat(infos, ", ")
end

local dissect_body = { [HELLO] = dissect_hello, [SEALED] = dissect_sealed, [UNSEALED] = dissect_messages }

function baton.dissector(tvb, pinfo, root)
    if tvb:len() < HEADER_BYTES or tvb(0, 2):uint() ~= MAGIC then
        return 0
    end
    pinfo.cols.protocol = "BATON"
    local tree = root:add(baton, tvb())
    local info = "malformed"
    guarded(tree, function()
        local cursor, context = cursor_of(tvb, 2, tvb:len()), context_of(pinfo)
        run(header_steps, cursor, tree, context)
        tree:append_text(", " .. context.shown.kind)
        info = dissect_body[context.values.kind](cursor, tree, pinfo)
    end)
    pinfo.cols.info = info
    return tvb:len()
end

-- Any port: the magic, a version and a kind that there are.
local function is_ours(tvb, pinfo, root)
    if tvb:len() < HEADER_BYTES or tvb(0, 2):uint() ~= MAGIC or not KINDS[tvb(3, 1):uint()] then
        return false
    end
    baton.dissector(tvb, pinfo, root)
    pinfo.conversation = baton
    return true
end

DissectorTable.get("udp.port"):add(PORT, baton)
baton:register_heuristic("udp", is_ours)
