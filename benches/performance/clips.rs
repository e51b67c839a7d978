//! The media host: nginx with `sendfile`. A host that used half of the machine would make all downloaders equally slow.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness;

/// An nginx that serves clips. Dropping it stops it.
pub struct ClipServer {
    server: Child,
    _folder: TempDir,
    links: Vec<String>,
}

impl Drop for ClipServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl ClipServer {
    /// Downloads these links once and serves the clips. `mib_per_second` limits each connection; 0: no limit.
    pub fn of(sources: &[String], mib_per_second: u32) -> Self {
        let folder = harness::folder();
        harness::run(&mut crate::downloads::curl(folder.path(), sources));
        harness::run(&mut Command::new("sync"));
        // The port was free a moment ago, and no other process here chooses fixed ports.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(folder.path().join("nginx.conf"), configuration(port, mib_per_second)).unwrap();
        let server = serve(folder.path());
        harness::until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let links = (0..sources.len()).map(|at| format!("http://127.0.0.1:{port}/{at}.mp4")).collect();
        Self { server, _folder: folder, links }
    }

    /// The links of the clips, in order.
    pub fn links(&self) -> &[String] {
        &self.links
    }

    /// Points the waiting outputs in a stopped daemon's database to this server.
    pub fn redirect_outputs(&self, data: &Path) {
        let database = rusqlite::Connection::open(data.join("dropreel.db")).unwrap();
        let number = "(SELECT count(*) FROM outputs AS earlier WHERE earlier.job < outputs.job)";
        let root = self.links[0].trim_end_matches("0.mp4");
        let sql = format!("UPDATE outputs SET link = ?1 || {number} || '.mp4' WHERE state = 'waiting'");
        assert_eq!(database.execute(&sql, [root]).unwrap(), self.links.len());
    }
}

/// The configuration of a single process that keeps all its files in its folder.
fn configuration(port: u16, mib_per_second: u32) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {name};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {{}}\n\
         http {{\n    access_log off;\n    sendfile on;\n    types {{ video/mp4 mp4; }}\n{temporary}    \
         server {{ listen 127.0.0.1:{port}; root .; limit_rate {mib_per_second}m; }}\n}}\n"
    )
}

fn serve(folder: &Path) -> Child {
    let mut command = Command::new(harness::find("nginx").unwrap());
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    command.stdout(Stdio::null()).spawn().unwrap()
}
