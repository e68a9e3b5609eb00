"""TLS contexts and secrets: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import SECRETS, tcp, tls_client, tls_server
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    Case(
        "tls server none",
        tls_server("common_tls_context: {}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:165: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context: a server needs tls_certificates or tls_certificate_sds_secret_configs"
        ],
    ),
    Case(
        "tls server noctx",
        tls_server("require_client_certificate: true"),
        Verdict.REFUSES,
        [
            "x.yaml:12:51: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context: a server needs tls_certificates or tls_certificate_sds_secret_configs"
        ],
    ),
    Case("tls server ok", tls_server("common_tls_context: {$PAIR}"), Verdict.ACCEPTS),
    Case(
        "tls server nokey",
        tls_server("common_tls_context: {tls_certificates: [{certificate_chain: {filename: $CERTIFICATE}}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:185: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0].private_key: required"
        ],
    ),
    Case(
        "tls server nochain",
        tls_server("common_tls_context: {tls_certificates: [{private_key: {filename: $KEY}}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:185: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain: required"
        ],
    ),
    Case(
        "tls server require noca",
        tls_server("require_client_certificate: true, common_tls_context: {$PAIR}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server sds static missing",
        tls_server("common_tls_context: {tls_certificate_sds_secret_configs: [{name: nope}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:210: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name: there is no static tls_certificate 'nope'"
        ],
    ),
    Case(
        "tls server sds static ok",
        tls_server("common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}]}", top=SECRETS),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server sds static wrongkind",
        tls_server("common_tls_context: {tls_certificate_sds_secret_configs: [{name: v}]}", top=SECRETS),
        Verdict.REFUSES,
        [
            "x.yaml:12:210: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name: there is no static tls_certificate 'v'"
        ],
    ),
    Case(
        "tls server sds validation ok",
        tls_server(
            "common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}], validation_context_sds_secret_config: {name: v}}",
            top=SECRETS,
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server sds validation missing",
        tls_server(
            "common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}], validation_context_sds_secret_config: {name: w}}",
            top=SECRETS,
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:260: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context_sds_secret_config.name: there is no static validation_context 'w'"
        ],
    ),
    Case(
        "tls server sds two",
        tls_server(
            "common_tls_context: {tls_certificate_sds_secret_configs: [{name: s},{name: s}]}", top=SECRETS
        ),
        Verdict.ACCEPTS,
        [
            "x.yaml:12:213: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[1]: refused: only one certificate secret is supported"
        ],
        differs="only one certificate secret is supported",
    ),
    Case(
        "tls server sds+inline",
        tls_server(
            "common_tls_context: {$PAIR, tls_certificate_sds_secret_configs: [{name: s}]}", top=SECRETS
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:319: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0]: cannot be set together with tls_certificates"
        ],
    ),
    Case(
        "tls server cipher bad",
        tls_server("common_tls_context: {$PAIR, tls_params: {cipher_suites: [ECDHE-FOO]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:311: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[0]: unknown cipher suite 'ECDHE-FOO'"
        ],
    ),
    Case(
        "tls server cipher 1.3 name",
        tls_server("common_tls_context: {$PAIR, tls_params: {cipher_suites: [TLS_AES_128_GCM_SHA256]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:311: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[0]: unknown cipher suite 'TLS_AES_128_GCM_SHA256'; did you mean 'AES128-GCM-SHA256'?"
        ],
    ),
    Case(
        "tls server cipher group",
        tls_server(
            'common_tls_context: {$PAIR, tls_params: {cipher_suites: ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-AES128-GCM-SHA256]"]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server cipher alias",
        tls_server("common_tls_context: {$PAIR, tls_params: {cipher_suites: [HIGH]}}"),
        Verdict.ACCEPTS,
        [
            "x.yaml:12:311: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[0]: unknown cipher suite 'HIGH'"
        ],
        differs="cipher suites are named one by one",
    ),
    Case(
        "tls server cipher not",
        tls_server('common_tls_context: {$PAIR, tls_params: {cipher_suites: [ALL, "!aNULL"]}}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:311: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[0]: unknown cipher suite 'ALL'",
            "x.yaml:12:316: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[1]: unknown cipher suite '!aNULL'",
        ],
    ),
    Case(
        "tls server curve bad",
        tls_server("common_tls_context: {$PAIR, tls_params: {ecdh_curves: [P-255]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:309: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.ecdh_curves[0]: unknown curve 'P-255' (known: P-256, P-384, P-521, X25519, X25519MLKEM768); did you mean 'P-256'?"
        ],
    ),
    Case(
        "tls server curve names",
        tls_server(
            "common_tls_context: {$PAIR, tls_params: {ecdh_curves: [P-256, P-384, P-521, X25519, X25519MLKEM768, prime256v1]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:354: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.ecdh_curves[5]: unknown curve 'prime256v1' (known: P-256, P-384, P-521, X25519, X25519MLKEM768)"
        ],
    ),
    Case(
        "tls server min>max",
        tls_server(
            "common_tls_context: {$PAIR, tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2}}"
        ),
        Verdict.ACCEPTS,
        [
            "x.yaml:12:325: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.tls_minimum_protocol_version: greater than tls_maximum_protocol_version"
        ],
        differs="such a context cannot work",
    ),
    Case(
        "tls server alpn empty",
        tls_server('common_tls_context: {$PAIR, alpn_protocols: [""]}'),
        Verdict.ACCEPTS,
        [
            "x.yaml:12:299: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.alpn_protocols[0]: must have 1 to 255 bytes"
        ],
        differs="such a context cannot work",
    ),
    Case(
        "tls server alpn long",
        tls_server('common_tls_context: {$PAIR, alpn_protocols: ["' + "x" * 256 + '"]}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:299: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.alpn_protocols[0]: must have 1 to 255 bytes"
        ],
    ),
    Case(
        "tls server san noca",
        tls_server(
            "common_tls_context: {$PAIR, validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:303: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names: needs trusted_ca: names in unverified certificates prove nothing"
        ],
    ),
    Case(
        "tls server san unspecified",
        tls_server(
            "common_tls_context: {$PAIR, validation_context: {trusted_ca: {filename: $CERTIFICATE}, match_typed_subject_alt_names: [{matcher: {exact: a}}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:378: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.match_typed_subject_alt_names[0].san_type: must be one of EMAIL, DNS, URI, IP_ADDRESS, OTHER_NAME"
        ],
    ),
    Case(
        "tls server san deprecated",
        tls_server(
            "common_tls_context: {$PAIR, validation_context: {trusted_ca: {filename: $CERTIFICATE}, match_subject_alt_names: [{exact: a}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server san both",
        tls_server(
            "common_tls_context: {$PAIR, validation_context: {trusted_ca: {filename: $CERTIFICATE}, match_subject_alt_names: [{exact: a}], match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server expired noca",
        tls_server("common_tls_context: {$PAIR, validation_context: {allow_expired_certificate: true}}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:303: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.allow_expired_certificate: needs trusted_ca"
        ],
    ),
    Case(
        "tls server hash bad",
        tls_server(
            'common_tls_context: {$PAIR, validation_context: {verify_certificate_hash: ["zz'
            + "0" * 62
            + '"]}}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:329: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.verify_certificate_hash[0]: not the SHA-256 of a certificate in hexadecimal"
        ],
    ),
    Case(
        "tls server hash colons",
        tls_server(
            'common_tls_context: {$PAIR, validation_context: {verify_certificate_hash: ["AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB"]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server spki short",
        tls_server('common_tls_context: {$PAIR, validation_context: {verify_certificate_spki: ["abc"]}}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:329: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.verify_certificate_spki[0]: must have at least 44 characters"
        ],
    ),
    Case(
        "tls server spki bad",
        tls_server(
            'common_tls_context: {$PAIR, validation_context: {verify_certificate_spki: ["' + "!" * 44 + '"]}}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:329: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.verify_certificate_spki[0]: not the SHA-256 of a public key in base64"
        ],
    ),
    Case(
        "tls server combined no default",
        tls_server(
            "common_tls_context: {$PAIR, combined_validation_context: {validation_context_sds_secret_config: {name: v}}}",
            top=SECRETS,
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:311: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context: required"
        ],
    ),
    Case(
        "tls server combined ok",
        tls_server(
            "common_tls_context: {$PAIR, combined_validation_context: {default_validation_context: {}, validation_context_sds_secret_config: {name: v}}}",
            top=SECRETS,
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls server datasource empty",
        tls_server(
            "common_tls_context: {tls_certificates: [{certificate_chain: {}, private_key: {filename: $KEY}}]}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:205: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain.specifier: one of filename, inline_bytes, inline_string, environment_variable is required"
        ],
    ),
    Case(
        "tls server bytes bad",
        tls_server(
            'common_tls_context: {tls_certificates: [{certificate_chain: {inline_bytes: "!!!"}, private_key: {filename: $KEY}}]}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:12:220: static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain.inline_bytes: not valid base64"
        ],
    ),
    Case("tls client none", tls_client("sni: a"), Verdict.ACCEPTS),
    Case("tls client empty ctx", tls_client("common_tls_context: {}"), Verdict.ACCEPTS),
    Case(
        "tls client two certs",
        tls_client(
            "common_tls_context: {tls_certificates: [{certificate_chain: {filename: $CERTIFICATE}, private_key: {filename: $KEY}},{certificate_chain: {filename: $CERTIFICATE}, private_key: {filename: $KEY}}]}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:286: static_resources.clusters[1].transport_socket.typed_config.common_tls_context.tls_certificates[1]: a client has one certificate at most"
        ],
    ),
    Case(
        "tls client sni long",
        tls_client('sni: "' + "x" * 256 + '"'),
        Verdict.REFUSES,
        [
            "x.yaml:6:156: static_resources.clusters[1].transport_socket.typed_config.sni: must have at most 255 bytes"
        ],
    ),
    Case(
        "tls client renego",
        tls_client("allow_renegotiation: true"),
        Verdict.ACCEPTS,
        [
            "x.yaml:6:151: static_resources.clusters[1].transport_socket.typed_config.allow_renegotiation: refused: renegotiation is not supported"
        ],
        differs="renegotiation is not supported",
    ),
    Case(
        "tls client auto san noca",
        tls_client("auto_sni_san_validation: true, auto_host_sni: true, common_tls_context: {}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:151: static_resources.clusters[1].transport_socket.typed_config.auto_sni_san_validation: needs a validation context"
        ],
    ),
    Case(
        "tls client auto san nosni",
        tls_client(
            "auto_sni_san_validation: true, common_tls_context: {validation_context: {trusted_ca: {filename: $CERTIFICATE}}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "secret noname",
        tcp(
            top="  secrets: [{tls_certificate: {certificate_chain: {filename: $CERTIFICATE}, private_key: {filename: $KEY}}}]"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "secret dup",
        tcp(
            top=SECRETS
            + "  - name: s\n    tls_certificate: {certificate_chain: {filename: $CERTIFICATE}, private_key: {filename: $KEY}}"
        ),
        Verdict.REFUSES,
        ["x.yaml:20:11: static_resources.secrets[2].name: there is another secret 's'"],
    ),
    Case(
        "secret same name diff kind",
        tcp(
            top=SECRETS
            + "  - name: v\n    tls_certificate: {certificate_chain: {filename: $CERTIFICATE}, private_key: {filename: $KEY}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "secret notype",
        tcp(top="  secrets: [{name: a}]"),
        Verdict.REFUSES,
        ["x.yaml:14:13: static_resources.secrets[0]: a secret needs tls_certificate or validation_context"],
    ),
    Case(
        "tls server many",
        tls_server(
            'require_client_certificate: true, require_sni: true, disable_stateless_session_resumption: true, common_tls_context: {$PAIR, alpn_protocols: [h2, http/1.1], tls_params: {tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3, cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256], ecdh_curves: [P-256]}, validation_context: {trusted_ca: {filename: $CERTIFICATE}, match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://td/"}},{san_type: IP_ADDRESS, matcher: {exact: 1.2.3.4}},{san_type: EMAIL, matcher: {suffix: x}},{san_type: DNS, matcher: {safe_regex: {regex: a}}}], verify_certificate_spki: ["NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="], allow_expired_certificate: true, trust_chain_verification: ACCEPT_UNTRUSTED}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "tls client many",
        tls_client(
            "sni: a.b, auto_host_sni: true, max_session_keys: 3, common_tls_context: {$PAIR, alpn_protocols: [istio], validation_context: {trusted_ca: {filename: $CERTIFICATE}}}"
        ),
        Verdict.ACCEPTS,
    ),
]
