-- Wireshark dissector for the interconnect of RRTS: the 20 clear bytes of every frame,
-- and the sealed parts as bytes. package net/wire (net/wire/doc.go) draws the format.
--
-- Use it with   wireshark -X lua_script:rrts.lua   or copy it to the plugins folder
-- that Help > About > Folders names. It takes EtherTypes 0x88b5 (network A) and 0x88b6
-- (network B); others are set in the preferences of the protocol. Frames in UDP are
-- shown with "Decode As". Filters: rrts.sfu == 2, rrts.type == 1, rrts.number > 1000.

local rrts = Proto("rrts", "RRTS interconnect")

local HEADER, TAG = 20, 16
local INITIATION, RESPONSE, DATA = 1, 2, 3
local VERSION = 1
local LONGEST = 9216
local HANDSHAKE = {[INITIATION] = 180, [RESPONSE] = 132}

local types = {[INITIATION] = "initiation", [RESPONSE] = "response", [DATA] = "data"}

local f = {
  version = ProtoField.uint8("rrts.version", "Version", base.DEC, nil, 0xf0),
  type    = ProtoField.uint8("rrts.type", "Type", base.DEC, types, 0x0f),
  flags   = ProtoField.uint8("rrts.flags", "Flags", base.HEX),
  phase   = ProtoField.uint8("rrts.phase", "Key phase", base.DEC, nil, 0x03),
  length  = ProtoField.uint16("rrts.length", "Frame length", base.DEC),
  cluster = ProtoField.uint32("rrts.cluster", "Cluster hash", base.HEX),
  sfu     = ProtoField.uint16("rrts.sfu", "Receiver: SFU", base.DEC),
  slot    = ProtoField.uint16("rrts.slot", "Receiver: slot", base.DEC),
  number  = ProtoField.uint64("rrts.number", "Packet number", base.DEC),
  attempt = ProtoField.uint64("rrts.attempt", "Handshake attempt", base.DEC),
  key     = ProtoField.bytes("rrts.ephemeral", "Ephemeral key"),
  static  = ProtoField.bytes("rrts.static", "Static key (sealed)"),
  hello   = ProtoField.bytes("rrts.hello", "Hello (sealed)"),
  payload = ProtoField.bytes("rrts.payload", "Payload (sealed)"),
  tag     = ProtoField.bytes("rrts.tag", "Tag"),
  padding = ProtoField.bytes("rrts.padding", "Padding of the link"),
}
rrts.fields = f

local malformed = ProtoExpert.new("rrts.malformed", "Not a frame of the interconnect", expert.group.MALFORMED, expert.severity.ERROR)
local cut = ProtoExpert.new("rrts.cut", "The frame is longer than what was captured", expert.group.MALFORMED, expert.severity.WARN)
rrts.experts = {malformed, cut}

rrts.prefs.type_a = Pref.uint("EtherType of network A", 0x88b5, "as in cluster.toml")
rrts.prefs.type_b = Pref.uint("EtherType of network B", 0x88b6, "as in cluster.toml")

-- fault says what is wrong with a header; nil: nothing. The rules are those of
-- wire.ParseHeader, but for the length, which may be beyond what was captured.
local function fault(version, kind, flags, length, slot)
  if version ~= VERSION then return "version " .. version end
  if types[kind] == nil then return "type " .. kind end
  if flags > 3 then return string.format("flags 0x%02x", flags) end
  if length < HEADER + TAG or length > LONGEST then return "length " .. length end
  if HANDSHAKE[kind] and length ~= HANDSHAKE[kind] then return types[kind] .. " of " .. length .. " bytes" end
  if (kind == INITIATION) ~= (slot == 0) then return "slot " .. slot .. " in a frame of type " .. types[kind] end
  if kind == INITIATION and flags ~= 0 then return "key phase in an initiation" end
  return nil
end

function rrts.dissector(buffer, packet, root)
  packet.cols.protocol = "RRTS"
  local tree = root:add(rrts, buffer())
  if buffer:reported_len() < HEADER + TAG or buffer:len() < HEADER then
    tree:add_proto_expert_info(malformed, "shorter than a header and a tag")
    packet.cols.info = "malformed: short"
    return
  end
  local version, kind = bit.rshift(buffer(0, 1):uint(), 4), bit.band(buffer(0, 1):uint(), 15)
  local flags, length = buffer(1, 1):uint(), buffer(2, 2):uint()
  local sfu, slot, number = buffer(8, 2):uint(), buffer(10, 2):uint(), buffer(12, 8):uint64()
  tree:add(f.version, buffer(0, 1))
  tree:add(f.type, buffer(0, 1))
  tree:add(f.flags, buffer(1, 1)):add(f.phase, buffer(1, 1))
  tree:add(f.length, buffer(2, 2))
  tree:add(f.cluster, buffer(4, 4))
  tree:add(f.sfu, buffer(8, 2))
  tree:add(f.slot, buffer(10, 2))
  if kind == DATA then
    tree:add(f.number, buffer(12, 8))
  else
    tree:add(f.attempt, buffer(12, 8))
  end

  local why = fault(version, kind, flags, length, slot)
  if why == nil and length > buffer:reported_len() then
    why = "length " .. length .. " in a packet of " .. buffer:reported_len()
  end
  if why then
    tree:add_proto_expert_info(malformed, why)
    packet.cols.info = "malformed: " .. why
    return
  end
  tree:append_text(string.format(", %s to SFU %d, number %s", types[kind], sfu, tostring(number)))
  packet.cols.info = string.format("%s to SFU %d slot %d, number %s, phase %d, %d bytes", types[kind], sfu, slot, tostring(number), flags, length)
  if length > buffer:len() then
    tree:add_proto_expert_info(cut)
    return
  end
  local at, tag = HEADER, length - TAG
  if kind ~= DATA then
    tree:add(f.key, buffer(at, 32))
    at = at + 32
    if kind == INITIATION then
      tree:add(f.static, buffer(at, 48))
      at = at + 48
    end
    tree:add(f.hello, buffer(at, tag - at))
  elseif tag > at then
    tree:add(f.payload, buffer(at, tag - at))
  end
  tree:add(f.tag, buffer(tag, TAG))
  if length < buffer:len() then
    tree:add(f.padding, buffer(length))
  end
end

-- Ethernet, by the types of the preferences; UDP by hand.
local ethernet = DissectorTable.get("ethertype")
local taken = {}
local function take()
  for _, t in ipairs(taken) do ethernet:remove(t, rrts) end
  taken = {rrts.prefs.type_a, rrts.prefs.type_b}
  for _, t in ipairs(taken) do ethernet:add(t, rrts) end
end
rrts.prefs_changed = take
take()
DissectorTable.get("udp.port"):add_for_decode_as(rrts)
