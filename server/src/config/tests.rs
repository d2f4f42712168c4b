use super::*;
use crate::store::sqlite::Synchronous;

fn load(flags: RawConfig, file: Option<&str>, env: &[(&str, &str)]) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lessor.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let env = |name: &str| {
        let known = env.iter().find(|(key, _)| *key == name);
        known.map(|(_, value)| (*value).to_owned()).or((name == "HOME").then(|| "/home/me".into()))
    };
    Config::load_with(Sources { flags, file: file.map(|_| path.as_path()) }, &env)
}

fn listen(address: &str) -> RawConfig {
    RawConfig { listen: Some(address.to_owned()), ..RawConfig::default() }
}

fn refusal(flags: RawConfig, file: Option<&str>, env: &[(&str, &str)]) -> String {
    load(flags, file, env).unwrap_err().to_string()
}

#[test]
fn without_any_setting_the_defaults_hold() {
    let config = load(RawConfig::default(), None, &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7077");
    assert_eq!(config.store.url.expose(), "sqlite:/home/me/.local/share/lessor/lessor.db");
    assert_eq!(config.store.folder.as_deref(), Some(Path::new("/home/me/.local/share/lessor")));
    assert_eq!(config.grace, Duration::from_secs(30));
    assert_eq!(config.threads, None);
}

#[test]
fn the_later_source_wins() {
    let file = "listen = '127.0.0.1:1'\nlog = 'debug'\ngrace = '1m'\nthreads = 3";
    let env = [("LESSOR_LISTEN", "127.0.0.1:2"), ("LESSOR_GRACE", "5s"), ("LESSOR_LOG", "")];
    let config = load(listen("127.0.0.1:3"), Some(file), &env).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.grace, Duration::from_secs(5));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.threads, NonZeroUsize::new(3));
}

#[test]
fn the_url_of_the_store_may_be_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, "redis://:secret@cache\n").unwrap();
    let secret = [("LESSOR_STORE_FILE", path.to_str().unwrap())];
    let config = load(RawConfig::default(), Some("store = 'sqlite:a.db'"), &secret).unwrap();
    assert_eq!(config.store.url.expose(), "redis://:secret@cache");

    let both = [secret[0], ("LESSOR_STORE", "redis://localhost")];
    let why = refusal(RawConfig::default(), None, &both);
    assert_eq!(why, "store_file can't stand beside store (from LESSOR_STORE_FILE)");

    std::fs::write(&path, "secret").unwrap();
    let why = refusal(RawConfig::default(), None, &secret);
    assert!(why.starts_with("store ") && why.contains(secret[0].1), "{why}");
    assert!(!why.contains("secret"), "{why}");

    std::fs::remove_file(&path).unwrap();
    let why = refusal(RawConfig::default(), None, &secret);
    assert!(why.starts_with("can't read ") && why.contains(secret[0].1), "{why}");
}

#[test]
fn the_environment_reaches_every_key() {
    let env = [
        ("LESSOR_LISTEN", "0.0.0.0:80"),
        ("LESSOR_OPS_LISTEN", "0.0.0.0:81"),
        ("LESSOR_STORE", "redis://localhost"),
        ("LESSOR_NAMESPACE", "shop"),
        ("LESSOR_SYNCHRONOUS", "normal"),
        ("LESSOR_ALLOW_EVICTION", "true"),
        ("LESSOR_GRACE", "1m 30s"),
        ("LESSOR_LOG", "warn,lessor_server=debug"),
        ("LESSOR_LOG_FORMAT", "json"),
        ("LESSOR_TELEMETRY_OTLP_ENDPOINT", "http://collector:4317"),
        ("LESSOR_THREADS", "7"),
        ("LESSOR_MANUAL_CLOCK", "false"),
        ("LESSOR_CORS_ORIGINS", "https://a.example, http://localhost:3000"),
        ("LESSOR_INSECURE_LISTEN", "false"),
        ("LESSOR_CONNECTIONS_MAX", "7"),
        ("LESSOR_CONNECTIONS_HANDSHAKE_TIMEOUT", "3s"),
        ("LESSOR_AUTH_TOKENS", "/etc/tokens.toml"),
        ("LESSOR_TLS_CERT", "/tls/crt"),
        ("LESSOR_TLS_KEY", "/tls/key"),
        ("LESSOR_TLS_CLIENT_CA", "/tls/ca"),
        ("LESSOR_PUSH_ALLOW", "loopback, 10.0.0.0/8"),
        ("LESSOR_PUSH_CA", "/push/ca"),
    ];
    let config = load(RawConfig::default(), None, &env).unwrap();
    let expected = Config {
        listen: ([0, 0, 0, 0], 80).into(),
        ops_listen: Some(([0, 0, 0, 0], 81).into()),
        store: StoreConfig {
            url: StoreUrl("redis://localhost".to_owned()),
            options: OpenOptions {
                namespace: "shop".to_owned(),
                synchronous: Synchronous::Normal,
                allow_eviction: true,
            },
            folder: None,
        },
        grace: Duration::from_secs(90),
        log: LogConfig { filter: env[7].1.to_owned(), format: LogFormat::Json },
        telemetry: TelemetryConfig {
            otlp_endpoint: Some("http://collector:4317".to_owned()),
            traces: true,
            metrics: Some(Duration::from_mins(1)),
        },
        threads: NonZeroUsize::new(7),
        manual_clock: false,
        cors_origins: vec!["https://a.example".to_owned(), "http://localhost:3000".to_owned()],
        connections: ConnectionLimits { most: 7, handshake: Duration::from_secs(3) },
        auth: auth::Settings {
            tokens: Some("/etc/tokens.toml".into()),
            ..auth::Settings::default()
        },
        tls: Some(TlsFiles {
            cert: "/tls/crt".into(),
            key: "/tls/key".into(),
            client_ca: Some("/tls/ca".into()),
            is_client_required: false,
        }),
        push: PushConfig {
            allowed: Allowed::parse(["loopback", "10.0.0.0/8"]).unwrap(),
            ca: Some("/push/ca".into()),
        },
        sinks: Vec::new(),
    };
    assert_eq!(format!("{config:?}"), format!("{expected:?}"));
}

#[test]
fn a_refusal_names_the_key_and_where_it_was_set() {
    let table = [
        (refusal(listen("7077"), None, &[]), "listen must be IP:PORT", "(from --listen)"),
        (
            refusal(RawConfig::default(), None, &[("LESSOR_GRACE", "30")]),
            "grace must be a span with a unit",
            "(from LESSOR_GRACE)",
        ),
        (
            refusal(RawConfig::default(), None, &[("LESSOR_THREADS", "many")]),
            "threads must be a number, not \"many\"",
            "(from LESSOR_THREADS)",
        ),
        (
            refusal(RawConfig::default(), None, &[("LESSOR_STORE", "mysql://h")]),
            "store must begin with sqlite:, redis://",
            "(from LESSOR_STORE)",
        ),
        (
            refusal(RawConfig::default(), Some("threads = 0"), &[]),
            "threads must be from 1 to 1024",
            "lessor.toml)",
        ),
        (
            refusal(RawConfig::default(), None, &[("LESSOR_CORS_ORIGINS", "https://a.example/")]),
            "cors.origins must be origins such as https://shop.example",
            "(from LESSOR_CORS_ORIGINS)",
        ),
        (
            refusal(RawConfig::default(), Some("[connections]\nmax = 0"), &[]),
            "connections.max must be from 1 to 1000000",
            "lessor.toml)",
        ),
        (
            refusal(RawConfig::default(), None, &[("LESSOR_CONNECTIONS_HANDSHAKE_TIMEOUT", "1ms")]),
            "connections.handshake_timeout must be from 1s to 5m",
            "(from LESSOR_CONNECTIONS_HANDSHAKE_TIMEOUT)",
        ),
        (refusal(RawConfig::default(), Some("colour = 1"), &[]), "colour", "lessor.toml"),
        (
            refusal(RawConfig::default(), None, &[("HOME", "")]),
            "store must be set",
            "(from the defaults)",
        ),
        (
            refusal(RawConfig::default(), None, &[("LESSOR_CONFIG", "/nowhere/lessor.toml")]),
            "can't read /nowhere/lessor.toml",
            "",
        ),
    ];
    for (told, what, source) in table {
        assert!(told.contains(what) && told.contains(source), "{told}");
    }
}

#[test]
fn time_stands_still_only_for_a_store_in_memory() {
    let on = |store: &str| RawConfig {
        store: Some(store.to_owned()),
        manual_clock: Some(true),
        ..RawConfig::default()
    };
    assert!(load(on("sqlite::memory:"), None, &[]).unwrap().manual_clock);
    for store in ["sqlite:/data/lessor.db", "redis://user:secret@localhost"] {
        let told = refusal(on(store), None, &[]);
        assert!(told.starts_with("manual_clock needs the store sqlite::memory:"), "{told}");
        assert!(told.ends_with("(from --manual-clock)") && !told.contains("secret"), "{told}");
    }
    let told = refusal(RawConfig::default(), None, &[("LESSOR_MANUAL_CLOCK", "true")]);
    assert!(told.contains("(from LESSOR_MANUAL_CLOCK)"), "{told}");
}

#[test]
fn without_credentials_a_broker_listens_on_its_own_machine_only() {
    for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
        assert!(load(listen(address), None, &[]).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
        let told = refusal(listen(address), None, &[]);
        assert!(told.contains("auth.tokens") && told.contains("--insecure-listen"), "{told}");
        assert!(told.contains("(from --listen)"), "{told}");
        let insecure = load(listen(address), Some("insecure_listen = true"), &[]);
        assert!(insecure.is_ok(), "{address}");
        let guarded = load(listen(address), Some("auth.tokens = '/tokens.toml'"), &[]);
        assert!(guarded.unwrap().auth.is_on(), "{address}");
    }
}

#[test]
fn tls_needs_a_certificate_and_its_key() {
    for (text, key) in [
        ("tls.cert = 'a'", "tls.cert needs tls.key"),
        ("tls.key = 'a'", "tls.key needs tls.cert"),
        ("tls.client_ca = 'a'", "tls.client_ca needs tls.cert"),
    ] {
        let told = refusal(RawConfig::default(), Some(text), &[]);
        assert!(told.contains(key) && told.contains("lessor.toml"), "{told}");
    }
    // Certificates of callers are credentials; alone, each caller must have one.
    let mutual = "tls = { cert = 'a', key = 'b', client_ca = 'c' }";
    let config = load(listen("0.0.0.0:1"), Some(mutual), &[]).unwrap();
    assert!(config.tls.unwrap().is_client_required);
}

#[test]
fn secrets_are_not_shown() {
    let table = [
        ("sqlite:/data/lessor.db", "sqlite:/data/lessor.db"),
        ("redis://localhost:6379/1", "redis://localhost:6379/1"),
        ("redis://user:pa@ss/word@host:1/2", "redis://***@host:1/2"),
        ("rediss://:secret@host", "rediss://***@host"),
        ("redis://host?password=secret&db=1", "redis://host?password=***&db=***"),
    ];
    for (url, shown) in table {
        let url = StoreUrl(url.to_owned());
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), shown);
    }
    let told = refusal(RawConfig::default(), None, &[("LESSOR_STORE", "hunter2")]);
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn the_reference_names_every_key_and_shows_the_defaults() {
    let text = include_str!("../../../config.reference.toml");
    let reference = load(RawConfig::default(), Some(text), &[]).unwrap();
    let defaults = load(RawConfig::default(), None, &[]).unwrap();
    assert_eq!(format!("{reference:?}"), format!("{defaults:?}"));
    // Keys whose default depends on the machine stand there as comments.
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches('#').trim()).collect();
    let is_key = |line: &&&str| {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        if **line == "[[sinks]]" {
            return true;
        }
        let table = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        table.is_some_and(is_word) || line.split_once(" = ").is_some_and(|(key, _)| is_word(key))
    };
    let keys: Vec<&str> = lines.iter().filter(is_key).copied().collect();
    let RawConfig {
        listen,
        ops_listen,
        store,
        store_file,
        namespace,
        synchronous,
        allow_eviction,
        grace,
        log,
        log_format,
        telemetry: RawTelemetry { otlp_endpoint },
        threads,
        manual_clock,
        insecure_listen,
        connections: RawConnections { max, handshake_timeout },
        auth,
        cors: RawCors { origins },
        tls: RawTls { cert, key, client_ca },
        push: RawPush { allow, ca },
        sinks,
    } = toml::from_str(&keys.join("\n")).unwrap();
    let texts = [
        listen,
        ops_listen,
        store,
        store_file,
        namespace,
        synchronous,
        grace,
        log,
        log_format,
        otlp_endpoint,
    ];
    assert!(texts.iter().all(Option::is_some), "{texts:?}");
    assert!(allow_eviction.is_some() && threads.is_some() && manual_clock.is_some());
    assert!(insecure_listen.is_some() && origins.is_some());
    let [sink] = &sinks[..] else { panic!("{sinks:?}") };
    assert!(sink.timeout.is_some() && sink.max_parallel.is_some() && sink.retry_client_errors);
    assert!(![sink.queues.len(), sink.headers.len(), sink.secret_files.len()].contains(&0));
    let RawAuth {
        tokens,
        jwks,
        jwks_refresh,
        jwt_issuer,
        jwt_audience,
        jwt_claim,
        jwt_owner_claim,
        calls_per_second,
        burst,
        streams,
    } = auth;
    let texts = [jwks, jwks_refresh, jwt_issuer, jwt_audience, jwt_claim, jwt_owner_claim];
    assert!(tokens.is_some() && texts.iter().all(Option::is_some), "{texts:?}");
    assert!([calls_per_second, burst, streams].iter().all(Option::is_some));
    assert!([cert, key, client_ca, ca].iter().all(Option::is_some) && allow.is_some());
    assert!(max.is_some() && handshake_timeout.is_some());
}

#[test]
fn telemetry_is_sent_where_the_standard_variables_say() {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let minute = Some(Duration::from_mins(1));
    let often = Some(Duration::from_millis(500));
    for (name, variable, traces, metrics) in [
        (ENDPOINT, ("", ""), true, minute),
        (TRACES_ENDPOINT, ("", ""), true, None),
        (ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), false, minute),
        (ENDPOINT, ("OTEL_METRICS_EXPORTER", "none"), true, None),
        (ENDPOINT, ("OTEL_SDK_DISABLED", "true"), false, None),
        (ENDPOINT, ("OTEL_METRIC_EXPORT_INTERVAL", "500"), true, often),
        ("", ("", ""), false, None),
    ] {
        let env = [(name, "http://c:4317"), variable];
        let telemetry = load(RawConfig::default(), None, &env).unwrap().telemetry;
        let expected = TelemetryConfig { otlp_endpoint: None, traces, metrics };
        assert_eq!(telemetry, expected, "{env:?}");
    }
    let told = refusal(RawConfig::default(), Some("[telemetry]\notlp_endpoint = \"c:4317\""), &[]);
    assert!(told.contains("telemetry.otlp_endpoint must be a URL"), "{told}");
}

#[test]
fn jwts_need_an_issuer_an_audience_and_keys_that_nobody_can_change_on_their_way() {
    let with = |keys: &str| {
        let text = format!("[auth]\njwks = '{keys}'\njwt_issuer = 'i'\njwt_audience = 'a'");
        load(RawConfig::default(), Some(&text), &[])
    };
    for good in [
        "/etc/lessor/jwks.json",
        "https://id.example/keys?v=1",
        "http://127.0.0.1:8080/keys",
        "http://[::1]/keys",
        "http://localhost:1/keys",
    ] {
        let auth = with(good).unwrap().auth;
        let jwt = auth.jwt.unwrap();
        assert_eq!((jwt.issuer.as_str(), jwt.audience.as_str()), ("i", "a"), "{good}");
        assert_eq!((jwt.claim.as_str(), jwt.owner_claim.as_str()), ("lessor", "sub"), "{good}");
    }
    for bad in [
        "http://id.example/keys",
        "http://127.0.0.1.example/keys",
        "ftp://id.example/keys",
        "https://user:pass@id.example/keys",
        "https://",
        "",
    ] {
        let told = with(bad).unwrap_err().to_string();
        assert!(told.contains("auth.jwks must"), "{bad}: {told}");
        assert!(!told.contains("pass"), "{told}");
    }
    for (text, why) in [
        ("jwks = '/k'\njwt_issuer = 'i'", "auth.jwks needs auth.jwt_audience beside it"),
        ("jwks = '/k'\njwt_audience = 'a'", "auth.jwks needs auth.jwt_issuer beside it"),
        ("jwt_issuer = 'i'", "auth.jwt_issuer needs auth.jwks beside it"),
        ("jwt_claim = 'c'", "auth.jwt_claim needs auth.jwks beside it"),
        ("jwks = '/k'\njwt_issuer = ''\njwt_audience = 'a'", "auth.jwt_issuer must not be empty"),
        (
            "jwks = '/k'\njwt_issuer = 'i'\njwt_audience = 'a'\njwks_refresh = '0s'",
            "auth.jwks_refresh must be from 1s to 24h",
        ),
    ] {
        let told = refusal(RawConfig::default(), Some(&format!("[auth]\n{text}")), &[]);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn limits_need_somebody_to_limit_and_make_sense() {
    for (text, why) in [
        ("streams = 3", "auth.streams needs auth.tokens or auth.jwks"),
        ("tokens = '/t'\nstreams = 0", "auth.streams must be from 1 to"),
        ("tokens = '/t'\nburst = 3", "auth.burst needs calls_per_second beside it"),
    ] {
        let told = refusal(RawConfig::default(), Some(&format!("[auth]\n{text}")), &[]);
        assert!(told.contains(why), "{told}");
    }
    let env = [("LESSOR_AUTH_TOKENS", "/t"), ("LESSOR_AUTH_CALLS_PER_SECOND", "50")];
    let limits = load(RawConfig::default(), None, &env).unwrap().auth.limits;
    assert_eq!((limits.calls_per_second, limits.burst, limits.streams), (Some(50), None, None));
    let told = refusal(RawConfig::default(), None, &[("LESSOR_AUTH_STREAMS", "many")]);
    assert!(told.contains("LESSOR_AUTH_STREAMS"), "{told}");
}

#[test]
fn a_sink_is_read_with_the_secret_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let text = format!(
        "[[sinks]]\nname = \"alerts\"\nqueues = [\"mail-*\"]\ntypes = [\"JOB_DEAD\"]\n\
         uri = \"https://example.com/\"\ntimeout = \"5s\"\nsecret_files = [{:?}]\n",
        path.display().to_string()
    );
    let sinks = load(RawConfig::default(), Some(&text), &[]).unwrap().sinks;
    assert_eq!(sinks.len(), 1);
    assert_eq!(sinks[0].queue.as_str(), "lessor.sink.alerts");
    assert_eq!(sinks[0].kinds, [crate::job::EventKind::Dead]);
    let push = &sinks[0].push;
    assert_eq!((push.timeout, push.secrets.len()), (Duration::from_secs(5), 1));
}

#[test]
fn a_sink_that_makes_no_sense_is_named() {
    let sink = |change: &str| format!("[[sinks]]\nname = \"a\"\n{change}\n");
    let good = "uri = \"https://example.com/\"\ntypes = [\"JOB_DEAD\"]";
    for (text, told) in [
        (sink("uri = \"https://10.0.0.1/\"\ntypes = [\"JOB_DEAD\"]"), "uri"),
        (sink("uri = \"https://example.com/\"\ntypes = [\"JOB_ODD\"]"), "JOB_ODD"),
        (sink("uri = \"https://example.com/\"\ntypes = []"), "types"),
        (sink(&format!("{good}\ntimeout = \"soon\"")), "timeout"),
        (sink(&format!("{good}\nmax_parallel = -1")), "max_parallel"),
        (sink(&format!("{good}\nqueues = [\"?\"]")), "queues"),
        (sink(good) + &sink(good), "twice"),
    ] {
        let why = refusal(RawConfig::default(), Some(&text), &[]);
        assert!(why.starts_with("sinks has \"a\"") && why.contains(told), "{why}");
    }
}
